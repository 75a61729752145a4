package ws_test

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// The key of RFC 6455 section 1.3, and the answer to it.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgrade is a valid handshake, with some of its headers replaced; an empty value
// removes a header.
func upgrade(t *testing.T, headers http.Header) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/socket", nil)
	r.Header = http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {sampleKey},
	}
	maps.Copy(r.Header, headers)
	maps.DeleteFunc(r.Header, func(_ string, values []string) bool { return values == nil })
	return r
}

func TestParseHandshake(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		headers http.Header
		status  int
	}{
		"plain":                 {nil, 0},
		"lists":                 {http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"h2c,\twebsocket"}}, 0},
		"several lines":         {http.Header{"Connection": {"keep-alive", "upgrade"}, "Upgrade": {"h2c", "websocket"}}, 0},
		"whatever case":         {http.Header{"Connection": {"UPGRADE"}, "Upgrade": {"WebSocket"}}, 0},
		"no connection":         {http.Header{"Connection": nil}, 426},
		"other connection":      {http.Header{"Connection": {"close"}}, 426},
		"token in another":      {http.Header{"Connection": {"no-upgrade"}}, 426},
		"no upgrade":            {http.Header{"Upgrade": nil}, 426},
		"other upgrade":         {http.Header{"Upgrade": {"h2c"}}, 426},
		"no version":            {http.Header{"Sec-Websocket-Version": nil}, 426},
		"old version":           {http.Header{"Sec-Websocket-Version": {"8"}}, 426},
		"two versions":          {http.Header{"Sec-Websocket-Version": {"13", "8"}}, 426},
		"no key":                {http.Header{"Sec-Websocket-Key": nil}, 400},
		"two keys":              {http.Header{"Sec-Websocket-Key": {sampleKey, sampleKey}}, 400},
		"short key":             {http.Header{"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25j"}}, 400},
		"17 bytes":              {http.Header{"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZWU="}}, 400},
		"18 bytes":              {http.Header{"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQAA"}}, 400},
		"key not base64":        {http.Header{"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25j!Q=="}}, 400},
		"malformed extensions":  {http.Header{"Sec-Websocket-Extensions": {"a;;b"}}, 400},
		"unknown extensions":    {http.Header{"Sec-Websocket-Extensions": {"x-unknown; a=1"}}, 0},
		"malformed before that": {http.Header{"Sec-Websocket-Extensions": {"permessage-deflate", "="}}, 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := ws.ParseHandshake(upgrade(t, test.headers), true)
			if test.status == 0 {
				if err != nil || h.Key != sampleKey {
					t.Errorf("got %+v, error %v", h, err)
				}
				return
			}
			if err == nil || err.Status != test.status || err.Error() == "" {
				t.Errorf("got %+v, error %+v, want status %d", h, err, test.status)
			}
		})
	}
}

func TestParseHandshakeRequestLine(t *testing.T) {
	t.Parallel()
	post := upgrade(t, nil)
	post.Method = http.MethodPost
	if _, err := ws.ParseHandshake(post, true); err == nil || err.Status != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %+v", err)
	}
	old := upgrade(t, nil)
	old.ProtoMajor, old.ProtoMinor = 1, 0
	if _, err := ws.ParseHandshake(old, true); err == nil || err.Status != http.StatusBadRequest {
		t.Errorf("HTTP/1.0: got %+v", err)
	}
}

func TestIsUpgrade(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		headers http.Header
		want    bool
	}{
		"upgrade":          {nil, true},
		"not acceptable":   {http.Header{"Sec-Websocket-Key": nil, "Sec-Websocket-Version": nil}, true},
		"plain request":    {http.Header{"Connection": nil, "Upgrade": nil}, false},
		"without token":    {http.Header{"Connection": {"keep-alive"}}, false},
		"another protocol": {http.Header{"Upgrade": {"h2c"}}, false},
	} {
		if got := ws.IsUpgrade(upgrade(t, test.headers)); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestAcceptKey(t *testing.T) {
	t.Parallel()
	if got := ws.AcceptKey(sampleKey); got != sampleAccept {
		t.Errorf("got %q", got)
	}
}

func TestAppendSwitchingProtocols(t *testing.T) {
	t.Parallel()
	h := ws.Handshake{Key: sampleKey, Extensions: "permessage-deflate"}
	extra := http.Header{
		"Set-Cookie":             {"a=1", "b=2"},
		"X-Evil":                 {"1\r\nX-Injected: 2"},
		"Connection":             {"close"},
		"Upgrade":                {"h2c"},
		"Sec-Websocket-Accept":   {"wrong"},
		"Content-Length":         {"7"},
		"Transfer-Encoding":      {"chunked"},
		"Sec-Websocket-Protocol": {"pond"},
	}
	raw := ws.AppendSwitchingProtocols(nil, h, extra)
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(append(raw, "frames"...))), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	want := http.Header{
		"Upgrade":                  {"websocket"},
		"Connection":               {"Upgrade"},
		"Sec-Websocket-Accept":     {sampleAccept},
		"Sec-Websocket-Extensions": {"permessage-deflate"},
		"Sec-Websocket-Protocol":   {"pond"},
		"Set-Cookie":               {"a=1", "b=2"},
		"X-Evil":                   {"1  X-Injected: 2"},
	}
	if response.StatusCode != http.StatusSwitchingProtocols || !maps.EqualFunc(response.Header, want, slices.Equal) {
		t.Errorf("got %d %v", response.StatusCode, response.Header)
	}

	plain := string(ws.AppendSwitchingProtocols(nil, ws.Handshake{Key: sampleKey}, nil))
	if strings.Contains(plain, "Extensions") || !strings.HasSuffix(plain, "\r\n\r\n") {
		t.Errorf("got %q", plain)
	}
}
