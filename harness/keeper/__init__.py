"""Keeps guests between test sessions, each in a process of its own.

* `place`      the directory of a kept guest, and what identifies it
* `messages`   what a session and a keeper say to each other
* `server`     the keeper: boots a guest, runs cells for one session after another, ends by itself
* `client`     a guest that a keeper keeps, as a session uses it
* `listing`    which guests are kept, and how to end them
"""
