"""The child that runs code of a model: it closes itself in, layer by layer, and then runs it.

The modules here run in that child (`python -I`), before the code does. They use the standard library alone, since each
call starts them anew, and the launcher's side of it is `launcher.tools.sandbox`.
"""
