package ws_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

func TestNewKeyIsAccepted(t *testing.T) {
	t.Parallel()
	first, second := ws.NewKey(), ws.NewKey()
	if first == second {
		t.Errorf("two keys are %q", first)
	}
	for _, deflate := range []bool{false, true} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/socket", nil)
		r.Header.Set("Sec-WebSocket-Extensions", "x-other")
		ws.SetHandshake(r.Header, first, deflate)
		h, refused := ws.ParseHandshake(r, true)
		if refused != nil || h.Key != first || h.Deflate != deflate {
			t.Fatalf("deflate %v: got %+v, error %v", deflate, h, refused)
		}
		resp := response(t, h)
		if got, err := ws.CheckHandshake(resp, first, deflate); err != nil || got != deflate {
			t.Errorf("deflate %v: got %v, error %v", deflate, got, err)
		}
	}
}

// response is the response of our server.
func response(t *testing.T, h ws.Handshake) *http.Response {
	t.Helper()
	return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{
		"Connection":               {"Upgrade"},
		"Upgrade":                  {"websocket"},
		"Sec-Websocket-Accept":     {ws.AcceptKey(h.Key)},
		"Sec-Websocket-Extensions": {h.Extensions},
	}}
}

func TestCheckHandshake(t *testing.T) {
	t.Parallel()
	const name = "Sec-Websocket-Extensions"
	const full = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	tests := map[string]struct {
		header, value string
		offered       bool
		deflate, ok   bool
	}{
		"plain":                      {name, "", false, false, true},
		"not compressed":             {name, "", true, false, true},
		"compressed":                 {name, full, true, true, true},
		"server's half":              {name, "permessage-deflate; server_no_context_takeover", true, true, true},
		"window":                     {name, full + "; server_max_window_bits=10", true, true, true},
		"case of tokens":             {"Upgrade", "WebSocket", true, true, true},
		"not offered":                {name, full, false, false, false},
		"other extension":            {name, "x-other", true, false, false},
		"two extensions":             {name, full + ", x-other", true, false, false},
		"context takeover":           {name, "permessage-deflate", true, false, false},
		"value where there is none":  {name, "permessage-deflate; server_no_context_takeover=1", true, false, false},
		"value of the other":         {name, full + "=1", true, false, false},
		"twice":                      {name, full + "; client_no_context_takeover", true, false, false},
		"window too large":           {name, full + "; server_max_window_bits=16", true, false, false},
		"window that was not asked":  {name, full + "; client_max_window_bits=10", true, false, false},
		"malformed":                  {name, ";", true, false, false},
		"other protocol":             {"Upgrade", "h2c", false, false, false},
		"no connection":              {"Connection", "close", false, false, false},
		"wrong accept":               {"Sec-Websocket-Accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", false, false, false},
		"subprotocol":                {"Sec-Websocket-Protocol", "chat", false, false, false},
		"no accept":                  {"Sec-Websocket-Accept", "", false, false, false},
		"an unknown parameter":       {name, full + "; x=1", true, false, false},
		"extension without a name":   {name, "=", true, false, false},
		"several lines are one list": {name, "permessage-deflate;\tserver_no_context_takeover", true, true, true},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := ws.Handshake{Key: sampleKey}
			if test.header != name && test.offered {
				h.Extensions = full
			}
			resp := response(t, h)
			resp.Header.Set(test.header, test.value)
			deflate, err := ws.CheckHandshake(resp, sampleKey, test.offered)
			if (err == nil) != test.ok || deflate != test.deflate {
				t.Errorf("got %v, error %v, want %v, ok %v", deflate, err, test.deflate, test.ok)
			}
		})
	}
}

func TestNewMaskDiffers(t *testing.T) {
	t.Parallel()
	seen := map[[4]byte]bool{}
	for range 8 {
		seen[ws.NewMask()] = true
	}
	if len(seen) < 7 {
		t.Errorf("%d different keys out of 8", len(seen))
	}
}
