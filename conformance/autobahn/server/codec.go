package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// patience is the time in which a client must close its side after the close frame.
const patience = 5 * time.Second

// An echo sends all messages back unchanged: text as text, binary as binary, and compressed
// if the client supports it.
type echo struct {
	net.Conn
	deflate bool
}

// echoCodec serves one connection with internal/ws and a plain socket.
func echoCodec(w http.ResponseWriter, hs ws.Handshake) error {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	e := &echo{conn, hs.Deflate}
	if _, err := conn.Write(ws.AppendSwitchingProtocols(nil, hs, nil)); err != nil {
		return err
	}
	if e.serve(rw) == nil { // an error if the suite closes the connection
		e.goodbye()
	}
	return nil
}

// serve decodes the data from r until a close frame is sent.
func (e *echo) serve(r io.Reader) error {
	var dec ws.Decoder
	dec.Init(&ws.Config{MaxMessage: maxMessage}, ws.Server, e.deflate)
	buf := make([]byte, 8<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return err
		}
		err = dec.Feed(buf[:n], e)
		if violation, ok := errors.AsType[*ws.CloseError](err); ok {
			_, err = e.Write(ws.AppendClose(nil, violation.Code, violation.Reason))
			return err
		}
		if err != nil {
			return err
		}
	}
}

// Message sends a message back.
func (e *echo) Message(op ws.Opcode, data []byte) error {
	if e.deflate {
		data = ws.AppendDeflate(nil, data)
	}
	_, err := e.Write(ws.AppendFrame(nil, op, e.deflate, data))
	return err
}

// Control answers pings.
func (e *echo) Control(op ws.Opcode, data []byte) error {
	if op != ws.Ping {
		return nil
	}
	_, err := e.Write(ws.AppendFrame(nil, ws.Pong, false, data))
	return err
}

// PeerClosed ends the connection with the code of the client.
func (e *echo) PeerClosed(code int, _ string) error {
	return &ws.CloseError{Code: code}
}

// goodbye closes one side and waits for the other. Closing both sides while there is unread
// data would reset the connection, and the close frame would be lost.
func (e *echo) goodbye() {
	if half, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = e.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, e.Conn)
}
