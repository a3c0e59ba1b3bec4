"""What goes out, as types: the results of verbs, the data of events, the retained states.

`daemon/domain/views.py` and the handlers build these values as plain dictionaries. Here stands what they may hold,
once; the AsyncAPI document and the manual are made from it, and every core that the tests start is held to it.
"""
