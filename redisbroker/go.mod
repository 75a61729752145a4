// What redisbroker needs does not concern users of the library, so it is a module of
// its own.
module github.com/pondsocket/pond/redisbroker

go 1.26

require (
	github.com/pondsocket/pond v0.0.0
	github.com/redis/rueidis v1.0.79
)

require golang.org/x/sys v0.47.0 // indirect

replace github.com/pondsocket/pond => ..
