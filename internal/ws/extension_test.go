package ws_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

const (
	answer       = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	answerWindow = answer + "; server_max_window_bits=15"
)

func TestNegotiation(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		offer []string
		want  string
	}{
		"no header":     {nil, ""},
		"empty header":  {[]string{""}, ""},
		"only commas":   {[]string{" , ,"}, ""},
		"plain":         {[]string{"permessage-deflate"}, answer},
		"browser":       {[]string{"permessage-deflate; client_max_window_bits"}, answer},
		"all we do":     {[]string{"permessage-deflate;server_no_context_takeover;client_no_context_takeover"}, answer},
		"spaces":        {[]string{" \tpermessage-deflate ;  server_no_context_takeover\t; client_max_window_bits = 15 , "}, answer},
		"several lines": {[]string{"x-one", "permessage-deflate"}, answer},
		"unknown first": {[]string{`x-webkit-deflate-frame; a="b"; c=1, permessage-deflate`}, answer},
		"other case":    {[]string{"Permessage-Deflate"}, ""},

		"client window":             {[]string{"permessage-deflate; client_max_window_bits=8"}, answer},
		"client window quoted":      {[]string{`permessage-deflate; client_max_window_bits="1\0"`}, answer},
		"client window too small":   {[]string{"permessage-deflate; client_max_window_bits=7"}, ""},
		"client window too big":     {[]string{"permessage-deflate; client_max_window_bits=16"}, ""},
		"client window with a zero": {[]string{"permessage-deflate; client_max_window_bits=08"}, ""},
		"client window no number":   {[]string{"permessage-deflate; client_max_window_bits=x"}, ""},
		"server window full":        {[]string{"permessage-deflate; server_max_window_bits=15"}, answerWindow},
		"server window quoted":      {[]string{`permessage-deflate; server_max_window_bits="15"`}, answerWindow},
		"server window small":       {[]string{"permessage-deflate; server_max_window_bits=14"}, ""},
		"server window no value":    {[]string{"permessage-deflate; server_max_window_bits"}, ""},

		"takeover with a value":       {[]string{"permessage-deflate; server_no_context_takeover=1"}, ""},
		"client takeover with one":    {[]string{"permessage-deflate; client_no_context_takeover=true"}, ""},
		"unknown parameter":           {[]string{"permessage-deflate; level=9"}, ""},
		"parameter in another case":   {[]string{"permessage-deflate; Client_Max_Window_Bits"}, ""},
		"duplicate":                   {[]string{"permessage-deflate; client_max_window_bits; client_max_window_bits=10"}, ""},
		"duplicate without value":     {[]string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, ""},
		"first acceptable offer wins": {[]string{"permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=15, permessage-deflate"}, answerWindow},
		"second line wins":            {[]string{"permessage-deflate; server_max_window_bits=10; client_max_window_bits", "permessage-deflate; client_max_window_bits"}, answer},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := upgrade(t, http.Header{"Sec-Websocket-Extensions": test.offer})
			h, err := ws.ParseHandshake(r, true)
			if err != nil || h.Extensions != test.want || h.Deflate != (test.want != "") {
				t.Errorf("got %+v, error %v, want %q", h, err, test.want)
			}
			if h, err := ws.ParseHandshake(r, false); err != nil || h.Extensions != "" || h.Deflate {
				t.Errorf("without deflate: got %+v, error %v", h, err)
			}
		})
	}
}

// RFC 6455 section 9.1 requires that they are rejected, not ignored.
func TestMalformedExtensions(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		";", "=", `"permessage-deflate"`, "a b", "a;", "a;;b", "a; ;b", "a;=1", "a;b=", "a;b= ;c", `a;b=""`, `a;b="`,
		`a;b="x`, `a;b="x\`, `a;b="x y"`, `a;b="x\"y"`, `a;b="x"y`, "a;b=c d", "a;b=c=d", "a/b", "é", "a\x00", "permessage-deflate; client_max_window_bits=",
		"permessage-deflate, a;" + strings.Repeat("b;", 1000),
	} {
		r := upgrade(t, http.Header{"Sec-Websocket-Extensions": {header}})
		for _, deflate := range []bool{true, false} {
			if h, err := ws.ParseHandshake(r, deflate); err == nil || err.Status != http.StatusBadRequest {
				t.Errorf("%.50q, deflate %t: got %+v, error %v", header, deflate, h, err)
			}
		}
	}
}

// The header arrives before the client is known, so its size and the number of its
// elements are limited before anything is parsed, and parsing allocates nothing.
func TestFault15_ExtensionsAreLimited(t *testing.T) {
	t.Parallel()
	list := func(n int, element string) string { return strings.Repeat(element+",", n-1) + element }
	for name, test := range map[string]struct {
		lines []string
		ok    bool
	}{
		"16 elements":          {[]string{list(16, "a")}, true},
		"17 elements":          {[]string{list(17, "a")}, false},
		"17 in two lines":      {[]string{list(16, "a"), "permessage-deflate"}, false},
		"4 KiB":                {[]string{"a;b=" + strings.Repeat("x", 4<<10-4)}, true},
		"more than 4 KiB":      {[]string{"a;b=" + strings.Repeat("x", 4<<10-3)}, false},
		"4 KiB in two lines":   {[]string{strings.Repeat("x", 2<<10), strings.Repeat("x", 2<<10+1)}, false},
		"4 KiB of commas":      {[]string{strings.Repeat(",", 4<<10)}, true},
		"1 MiB of commas":      {[]string{strings.Repeat(",", 1<<20)}, false},
		"1 MiB of elements":    {[]string{strings.Repeat("a,", 1<<19)}, false},
		"1 MiB of parameters":  {[]string{"permessage-deflate" + strings.Repeat(";a", 1<<19)}, false},
		"4 KiB of parameters":  {[]string{"permessage-deflate" + strings.Repeat(";a", 2000)}, true},
		"1 MiB of lines":       {strings.Split(strings.Repeat("a\n", 1<<19), "\n"), false},
		"1 MiB of empty lines": {make([]string, 1<<16), true},
		"1 MiB of quotes":      {[]string{`a;b="` + strings.Repeat("x", 1<<20) + `"`}, false},
	} {
		r := upgrade(t, http.Header{"Sec-Websocket-Extensions": test.lines})
		for _, deflate := range []bool{true, false} {
			if _, err := ws.ParseHandshake(r, deflate); (err == nil) != test.ok || err != nil && err.Status != http.StatusBadRequest {
				t.Errorf("%s, deflate %t: error %v", name, deflate, err)
			}
		}
	}
}

// Checking a request to connect allocates nothing, for any headers.
func TestFault15_HandshakeAllocations(t *testing.T) {
	const size = 1 << 20
	for name, header := range map[string]http.Header{
		"plain":         {},
		"offer":         {"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits, x; y=1"}},
		"extensions":    {"Sec-Websocket-Extensions": {strings.Repeat("a,", size/2)}},
		"parameters":    {"Sec-Websocket-Extensions": {"permessage-deflate" + strings.Repeat(";a", 2000)}},
		"Connection":    {"Connection": {strings.Repeat("a,", size/2) + "upgrade"}},
		"Upgrade":       {"Upgrade": {strings.Repeat(",", size) + "websocket"}},
		"Upgrade lines": {"Upgrade": append(make([]string, size), "websocket")},
		"key":           {"Sec-Websocket-Key": {strings.Repeat("A", size)}},
		"version":       {"Sec-Websocket-Version": {strings.Repeat("13,", size/3)}},
		"protocols":     {"Sec-Websocket-Protocol": {strings.Repeat("a,", size/2)}},
	} {
		r := upgrade(t, header)
		allocations := testing.AllocsPerRun(10, func() {
			ws.IsUpgrade(r)
			_, _ = ws.ParseHandshake(r, true)
		})
		if allocations > 1 { // the error
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}
