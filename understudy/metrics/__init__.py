"""
Metrics: one number each over what a candidate did with the held-out pairs.

A metric class may carry `better`: name > 'lower' or 'higher'. The names in it get a verdict word
on the scorecard; the others are shown without one.
"""
