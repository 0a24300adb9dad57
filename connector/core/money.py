"""Money in minor units (cents) and in the units people read. Knows how many decimals each currency has."""

from __future__ import annotations

from decimal import Context, Decimal

# ISO 4217 list one (six-group.com, currency maintenance agency), "minor unit" column, read 2026-11: all that is not 2.
# Funds, metals and test codes have none ("N.A."); they count as 2, since nobody pays affiliates in them.
_EXPONENTS = {
    code: decimals
    for decimals, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for code in codes.split()
}

_WIDE = Context(prec=100)  # amounts are never rounded to a number of digits


def exponent(code: str) -> int:
    """The decimals of an ISO 4217 currency: 2 for USD, 0 for JPY, 3 for KWD; 2 for a code that is not known."""
    return _EXPONENTS.get(code.upper(), 2)


def number_pattern(code: str | None) -> str:
    """How Google Sheets and Excel show amounts: "#,##0.00", and "#,##0" for JPY; 2 decimals where none is known."""
    decimals = exponent(code or "")
    return "#,##0." + "0" * decimals if decimals else "#,##0"


# Unicode CLDR, English (cldr.unicode.org, read 2026-11): a sign that several countries use has the country before it.
_SIGNS = {
    "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "ILS": "₪", "VND": "₫", "PHP": "₱",
    "AUD": "A$", "CAD": "CA$", "NZD": "NZ$", "HKD": "HK$", "MXN": "MX$", "BRL": "R$", "CNY": "CN¥", "TWD": "NT$",
}  # fmt: skip


def signed_pattern(code: str, *, behind: bool = False) -> str:
    """``number_pattern`` with the currency's sign, else its code: ``"$"#,##0.00``; *behind*: ``#,##0.00" €"``."""
    sign = _SIGNS.get(code.upper())
    if behind:
        return f'{number_pattern(code)}" {sign or code.upper()}"'
    return f'"{sign or code.upper() + chr(0xA0)}"{number_pattern(code)}'


def with_decimals(amount: Decimal, code: str) -> Decimal:
    """*amount* with at least the decimals of the currency; never rounded: 300 EUR -> 300.00, 0.005 EUR as it is."""
    places = exponent(code)
    if int(amount.as_tuple().exponent) <= -places:
        return amount
    return amount.quantize(Decimal(1).scaleb(-places), context=_WIDE)


def from_minor(amount: int | Decimal, code: str) -> str:
    """An amount in minor units as exact decimal text: 50744 USD -> "507.44", -1000 JPY -> "-1000", 5 KWD -> "0.005"."""
    return from_minor_with(amount, exponent(code))


def from_minor_with(amount: int | Decimal, decimals: int) -> str:
    """``from_minor`` when the exponent is known already.

    Plain notation, at least *decimals* digits after the point, never rounded: half a cent is "0.005" in USD.
    """
    if isinstance(amount, int):
        if not decimals:
            return str(amount)
        digits = str(abs(amount)).rjust(decimals + 1, "0")
        return f"{'-' if amount < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"
    if amount == amount.to_integral_value():
        return from_minor_with(int(amount), decimals)
    sign, figures, shift = amount.as_tuple()
    assert isinstance(shift, int)  # not for NaN and infinities: nothing that is read from JSON is one
    return format(Decimal((sign, figures, shift - decimals)), "f")
