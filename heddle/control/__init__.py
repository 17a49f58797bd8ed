"""The operator's API; the command line, the web page and the tests are skins over it."""
