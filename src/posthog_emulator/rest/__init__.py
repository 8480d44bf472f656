"""The collections: where objects are kept, and what each operation does to them."""
