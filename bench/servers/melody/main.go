// Command melody implements rooms as in melody's examples: the path is the room, and
// BroadcastFilter finds its members among all sessions.
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/olahol/melody"

	"github.com/pondsocket/pond/bench/internal/serve"
)

func main() {
	flag.Parse()
	mux := http.NewServeMux()
	mux.Handle("/chat/", handle(func(m *melody.Melody, s *melody.Session, message []byte) error {
		return m.BroadcastFilter(message, func(other *melody.Session) bool {
			return other.Request.URL.Path == s.Request.URL.Path
		})
	}))
	mux.Handle("/echo", handle(func(_ *melody.Melody, s *melody.Session, message []byte) error {
		return s.Write(message)
	}))
	if err := serve.HTTP(mux); err != nil {
		log.Fatal(err)
	}
}

func handle(onMessage func(*melody.Melody, *melody.Session, []byte) error) http.Handler {
	m := melody.New()
	m.Config.MaxMessageSize = 1 << 20 // the default of 512 is too small for the scenarios
	m.Upgrader.EnableCompression = *serve.Compress
	m.HandleConnect(func(s *melody.Session) {
		_ = s.Write([]byte(`{"joined":true}`)) // the buffer of a new session is empty
	})
	m.HandleMessage(func(s *melody.Session, message []byte) {
		_ = onMessage(m, s, message) // fails only if melody is closed
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = m.HandleRequest(w, r) // HandleRequest sent the response
	})
}
