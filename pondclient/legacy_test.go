package pondclient_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// The messages of the official server on npm up to version 0.1.70 have no request IDs,
// and it does not send a first message.
func TestLegacyServer(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client(pondclient.WithLegacyServer())
		s := f.accept()
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, answer := range map[string]string{
			"/chat/2": `{"event":"UNAUTHORIZED_JOIN_REQUEST","payload":{"message":"rejected","code":403},"channelName":"/chat/2","action":"ERROR"}`,
			"/nope":   `{"event":"ENDPOINT_ERROR","action":"ERROR","channelName":"ENDPOINT","payload":{"message":"Channel /nope does not exist","code":403}}`,
		} {
			joined := background(func() error { _, err := c.Join(t.Context(), name); return err })
			s.expect("JOIN_CHANNEL")
			s.raw(answer)
			if e, ok := errors.AsType[*pond.Error](<-joined); !ok || e.Code != 403 {
				t.Errorf("%s: error %v", name, e)
			}
		}
		var ch *pondclient.Channel
		joined := background(func() (err error) { ch, err = c.Join(t.Context(), room); return err })
		s.expect("JOIN_CHANNEL")
		s.raw(`{"action":"SYSTEM","channelName":"/chat/1","event":"ACKNOWLEDGE","payload":{}}`)
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		events := collect(t, ch)
		s.raw(`{"channelName":"/chat/1","action":"BROADCAST","payload":{"n":1},"event":"said"}`)
		s.raw(`{"channelName":"/chat/1","action":"ERROR","payload":{"message":"bad","code":409},"event":"UNAUTHORIZED_BROADCAST"}`)
		events.is("1 failure : 409 bad: UNAUTHORIZED_BROADCAST")
		_, err := ch.Request(t.Context(), "ask", nil)
		isError(t, err, errors.ErrUnsupported)
		s.cut()
		s = f.accept()
		s.expect("JOIN_CHANNEL")
		s.raw(`{"action":"SYSTEM","channelName":"/chat/1","event":"ACKNOWLEDGE","payload":{}}`)
		time.Sleep(time.Hour)
		synctest.Wait()
		s.quiet()
		events.is("gap:fresh")
	})
}
