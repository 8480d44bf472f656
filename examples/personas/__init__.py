"""Questions that people ask about a product, each answered by a short program.

`python -m examples.personas.power_user_identification` runs one on an emulator with demo data.
"""
