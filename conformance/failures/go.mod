// Tests of clusters at real servers that fail need the clients of these servers.
module github.com/pondsocket/pond/conformance/failures

go 1.26.0

require (
	github.com/pondsocket/pond v0.0.0
	github.com/pondsocket/pond/natsbroker v0.0.0-00010101000000-000000000000
	github.com/pondsocket/pond/redisbroker v0.0.0-00010101000000-000000000000
	github.com/redis/rueidis v1.0.79
)

require (
	github.com/klauspost/compress v1.20.0 // indirect
	github.com/nats-io/nats.go v1.55.0 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace (
	github.com/pondsocket/pond => ../..
	github.com/pondsocket/pond/natsbroker => ../../natsbroker
	github.com/pondsocket/pond/redisbroker => ../../redisbroker
)
