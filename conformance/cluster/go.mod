// A test with a node of another PondSocket implementation needs a client of Redis.
module github.com/pondsocket/pond/conformance/cluster

go 1.26

require (
	github.com/pondsocket/pond v0.0.0
	github.com/pondsocket/pond/redisbroker v0.0.0-00010101000000-000000000000
	github.com/redis/rueidis v1.0.79
)

require golang.org/x/sys v0.47.0 // indirect

replace (
	github.com/pondsocket/pond => ../..
	github.com/pondsocket/pond/redisbroker => ../../redisbroker
)
