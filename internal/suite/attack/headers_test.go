package attack_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// numbered returns about size bytes of parts, each with a number of its own.
func numbered(size int, format, separator string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, format, i)
		b.WriteString(separator)
	}
	return b.String()
}

// A request costs the server only a small multiple of its bytes in memory, whatever its
// headers are, even if the connection handler parses all of them.
func TestFault15_RequestsCostAFewTimesTheirBytes(t *testing.T) {
	const size = 1 << 20
	handler := func(ctx *pond.ConnectionContext) error {
		_, _, _ = ctx.Query(), ctx.Cookies(), ctx.Param("tenant")
		return ctx.Decline(http.StatusForbidden, "")
	}
	p := pond.New(pond.WithLogger(kit.Silent))
	for i := range 20 { // none of which matches
		p.Endpoint(fmt.Sprintf("/:tenant/*/%d", i), handler)
	}
	p.Endpoint("/:tenant/socket", handler, pond.WithOrigins("https://*.good.example"), pond.WithJoinByURL(), pond.WithMaxConnsPerAddress(1000),
		pond.WithTrustedProxies(netip.MustParsePrefix("192.0.2.0/24"))) // where httptest's requests come from
	handshake := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	type request struct {
		target string
		header http.Header
		status []int
	}
	one := func(name, value string, status ...int) request {
		return request{"/a/socket", http.Header{name: {value}}, status}
	}
	requests := map[string]request{
		"extensions":            one("Sec-Websocket-Extensions", strings.Repeat("a,", size/2), 400, 403),
		"extension parameters":  one("Sec-Websocket-Extensions", "permessage-deflate"+strings.Repeat(";a", size/2), 400, 403),
		"Accept":                one("Accept", strings.Repeat("a/b;q=1,", size/8)+"text/event-stream", 403),
		"Accept lines":          {"/a/socket", http.Header{"Accept": slices.Repeat([]string{"a"}, size/10)}, []int{403, 404}},
		"cookies":               one("Cookie", numbered(size, "%x=", ";"), 400),
		"one cookie":            one("Cookie", "a="+strings.Repeat("%41", size/3), 403),
		"cookies of one name":   one("Cookie", strings.Repeat("a=;", size/3), 400),
		"cookie lines":          {"/a/socket", http.Header{"Cookie": slices.Repeat([]string{"a=b"}, size/12)}, []int{400}},
		"1,000 cookies":         one("Cookie", numbered(4500, "%x=", ";"), 403),
		"Origin":                one("Origin", "https://"+strings.Repeat("a.", size/2)+"good.example", 403),
		"broken Origin":         one("Origin", strings.Repeat("%", size), 403),
		"Connection":            one("Connection", strings.Repeat("a,", size/2)+"upgrade", 403),
		"Upgrade":               one("Upgrade", strings.Repeat("a,", size/2)+"websocket", 403),
		"Sec-WebSocket-Key":     one("Sec-Websocket-Key", strings.Repeat("A", size), 400, 403),
		"Sec-WebSocket-Version": one("Sec-Websocket-Version", strings.Repeat("13,", size/3), 426, 403),
		"subprotocols":          one("Sec-Websocket-Protocol", strings.Repeat("a,", size/2), 403),
		"X-Connection-ID":       one("X-Connection-Id", strings.Repeat("a", size), 403),
		"Cache-Control":         one("Cache-Control", strings.Repeat("a,", size/2), 403),
		"X-Forwarded-For":       one("X-Forwarded-For", strings.Repeat("192.0.2.1,", size/10), 403),
		"Last-Event-ID":         one("Last-Event-Id", strings.Repeat("9", size), 403),
		"one channel":           {"/a/socket?join=" + strings.Repeat("%41", size/3) + "&want=" + strings.Repeat(",", 100), nil, []int{403, 404}},
		"extensions in a URL":   {"/a/socket?join=a&want=" + strings.Repeat("a,", size/2), nil, []int{403, 404}},
		"query":                 {"/a/socket?" + numbered(size, "%x", "&"), nil, []int{400}},
		"query of one name":     {"/a/socket?" + strings.Repeat("a&", size/2), nil, []int{400}},
		"one parameter":         {"/a/socket?a=" + strings.Repeat("%41", size/3), nil, []int{403}},
		"1,000 parameters":      {"/a/socket?" + numbered(3500, "%x", "&"), nil, []int{403}},
		"path":                  {"/" + strings.Repeat("%41", size/3) + "/socket", nil, []int{403}},
		"path of odd bytes":     {"/" + strings.Repeat("|", size) + "/socket", nil, []int{403}},
		"path of slashes":       {strings.Repeat("/", size), nil, []int{404}},
		"path of segments":      {strings.Repeat("/%2f", size/4), nil, []int{404}},
	}
	for name, request := range requests {
		for _, kind := range []http.Header{handshake, {"Accept": {"text/event-stream"}}} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, request.target, nil)
			bytes := len(request.target)
			maps.Copy(r.Header, kind)
			for key, values := range request.header {
				if key == "Accept" {
					values = append(slices.Clone(values), kind.Get("Accept"))
				}
				r.Header[key] = values
				for _, value := range values {
					bytes += len(key) + len(value)
				}
			}
			w := httptest.NewRecorder()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p.ServeHTTP(w, r)
			runtime.ReadMemStats(&after)
			if cost := int(after.TotalAlloc - before.TotalAlloc); cost > 6*bytes+(256<<10) {
				t.Errorf("%s: %d bytes cost %d bytes of memory", name, bytes, cost)
			}
			if allocations := int(after.Mallocs - before.Mallocs); allocations > 4000 {
				t.Errorf("%s: %d bytes cost %d allocations", name, bytes, allocations)
			}
			if !slices.Contains(request.status, w.Code) {
				t.Errorf("%s: status %d, want one of %d", name, w.Code, request.status)
			}
		}
	}
}
