"""Affiliate webhooks in, one current record per affiliate, rows and contacts out."""
