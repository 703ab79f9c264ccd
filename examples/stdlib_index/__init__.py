"""Index the standard library through Penstock, with a worker and the broker killed on the way.

Run it with ``make demo``, or ``python -m examples.stdlib_index`` from the top of the repository.

    files --job each--> queue stdlib.files --> 4 worker processes --result each--> queue stdlib.index --> collector

A worker acknowledges its jobs only after the results are durable, so what a killed worker held is done again by another
one: at least once. The collector keeps one result per file and counts the others.

    library.py    which files there are
    extract.py    what is found in one file
    worker.py     the worker process
    pipeline.py   the producer and the collector
    processes.py  broker and workers as child processes, and their deaths
    progress.py   the live display, or plain lines
    check.py      the run against a plain in-process index
    run.py        the order of it all
"""
