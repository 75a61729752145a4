// Package load is a load generator for realtime servers. It measures throughput and
// latency, and counts every delivery that is lost, duplicated, out of order or
// misdelivered.
//
// [Run] runs one [Scenario] with clients that speak a [Dialect]. A few threads serve
// all clients with epoll. A client has no goroutine, and a buffer only while it has an
// incomplete message. So one core of load can keep up with the servers that it
// measures, and ten thousand clients cost little.
//
// The package requires Linux; on other systems Run returns [ErrPlatform].
package load
