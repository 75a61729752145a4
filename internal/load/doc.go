// Package load puts load on realtime servers and counts exactly what comes back:
// how much, how late, and what was lost, came twice or out of order.
//
// [Run] plays one [Scenario] with clients that speak a [Dialect]. A few threads
// serve all of them with epoll: a client has no goroutine and, unless a message
// has arrived in part, no buffer. So one core of load can keep up with the
// servers that it measures, and ten thousand clients cost little.
//
// It needs Linux; elsewhere Run returns [ErrPlatform].
package load
