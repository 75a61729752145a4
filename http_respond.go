package pond

import (
	"net/http"
	"strings"
	"time"
)

// unreadTimeout is how long a client may take to send the rest of a request that
// was answered before its body was read.
const unreadTimeout = 5 * time.Second

// respond answers a request that does not become a connection. Every such response
// depends on the moment, or on who asks, so none may be stored.
func respond(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// abandonBody is called before the response to a request whose body, if there is
// one, is not read. net/http waits for the rest of a body, to use the connection
// again, as long as the client likes. So abandonBody sets a deadline, and has the
// connection closed, without which the response would wait for the body as well.
// Over HTTP/2, only the stream of the request ends.
func abandonBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout))
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// isToken reports whether s can be the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('0' > c || c > '9') && ('a' > c|0x20 || c|0x20 > 'z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
