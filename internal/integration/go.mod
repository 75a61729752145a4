// Tests of the whole that need other people's code, which the library must not
// depend on: so they are a module of their own.
module github.com/pondsocket/pond/internal/integration

go 1.26

require (
	github.com/coder/websocket v1.8.15
	github.com/pondsocket/pond v0.0.0
	pgregory.net/rapid v1.3.0
)

replace github.com/pondsocket/pond => ../..
