package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pondsocket/pond/examples/internal/hosttest"
)

// In RFC 8441, a WebSocket starts with an extended CONNECT. Whether net/http supports it
// depends on GODEBUG at the start of the program, so the test needs a second process.
func TestExtendedConnect(t *testing.T) {
	const enabled = "GODEBUG=http2xconnect=1"
	addr, _ := hosttest.Serve(t, serve)
	announced, answer := connect(t, addr)
	if os.Getenv("GODEBUG") == "http2xconnect=1" {
		if !announced || answer != "405" {
			t.Errorf("%s: announced %t, response to CONNECT %s", enabled, announced, answer)
		}
		return
	}
	if announced || answer != "reset: PROTOCOL_ERROR" {
		t.Errorf("by default: announced %t, response to CONNECT %s", announced, answer)
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestExtendedConnect$")
	again.Env = append(os.Environ(), enabled)
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// connect requests a WebSocket over HTTP/2. It returns whether the server announced that it
// supports this, and its response.
func connect(t *testing.T, addr string) (announced bool, answer string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for _, f := range [][2]string{
		{":method", "CONNECT"},
		{":protocol", "websocket"},
		{":scheme", "http"},
		{":path", "/api/socket"},
		{":authority", addr},
		{"sec-websocket-version", "13"},
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header.Bytes(), EndHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if v, ok := f.Value(http2.SettingEnableConnectProtocol); ok {
				announced = v == 1
			}
		case *http2.MetaHeadersFrame:
			return announced, f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return announced, "reset: " + f.ErrCode.String()
		}
	}
}
