"""Archives as pages: `aezip browse` serves a gallery to the browser of this machine, `aezip export`
writes one as a single file.

- `gallery`: pictures of an archive as bytes that browsers show, decoded when they are asked for.
- `server`: which request gets what; the only code that needs the extra `aezip[web]`.
- `page`: the page of both, out of the plain HTML, CSS and JavaScript in `static`.
"""
