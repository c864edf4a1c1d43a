"""``fedproxy demo``: real work over two sites, in one command, with its figures and a picture.

Reads from the top: ``command`` (options) → ``run`` (the story) → ``cluster`` (what is started), ``corpus``, ``words``,
and ``array_job`` (the work), ``account`` (the bytes), ``timeline``, ``picture`` and ``flows``, ``report`` (the table).
"""
