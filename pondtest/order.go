package pondtest

// SameOrder waits until the server is idle, and takes the messages with that
// event, or all messages if event is empty, out of what the sessions have not
// received yet. It fails the test unless each session has the same ones, byte for
// byte and in the same order, and at least one. It returns them. [Session.Drain]
// before takes what is not to be compared.
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

// nth returns a message for people.
func nth(messages []Message, n int) string {
	if n >= len(messages) {
		return "missing"
	}
	return string(messages[n].Raw)
}
