package pondtest

// SameOrder waits until the server is idle. It then takes the unread messages with
// the given event from each session, or all unread messages if event is empty, and
// returns them. It fails the test unless all sessions have the same messages, byte
// for byte and in the same order, and at least one. Call [Session.Drain] before the
// messages that must be compared are sent, to drop earlier ones.
func (d *Driver) SameOrder(event string, sessions ...*Session) []Message {
	d.t.Helper()
	var want []Message
	for i, s := range sessions {
		got := s.drain(func(m Message) bool { return event == "" || m.Event == event })
		if i == 0 {
			want = got
			continue
		}
		for n := range max(len(want), len(got)) {
			if a, b := nth(want, n), nth(got, n); a != b {
				s.fatalf("message %d is %s, but %s has %s", n+1, b, sessions[0].name, a)
			}
		}
	}
	if len(want) == 0 {
		d.t.Fatalf("pondtest: there are no messages to compare")
	}
	return want
}

// nth formats message n for a failure.
func nth(messages []Message, n int) string {
	if n >= len(messages) {
		return "missing"
	}
	return string(messages[n].Raw)
}
