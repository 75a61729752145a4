// The examples are a module of their own: what they need does not concern
// users of the library.
module github.com/pondsocket/pond/examples

go 1.26

require github.com/pondsocket/pond v0.0.0

replace github.com/pondsocket/pond => ..
