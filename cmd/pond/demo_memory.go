package main

import (
	"slices"
	"sync"
)

// How much the demo remembers, whoever fills it.
const (
	rememberedMessages = 50 // a room
	rememberedRooms    = 100
)

// A memory has what was said last in the rooms where something was said last.
// Its zero value is empty.
type memory struct {
	mu    sync.Mutex
	rooms []remembered // the one that was used last is at the end
}

type remembered struct {
	room     string
	messages []Message // the oldest first
}

// of returns what was said in a room, the oldest first.
func (m *memory) of(room string) []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	messages := []Message{} // an empty list, and not null on the wire
	if i := m.find(room); i >= 0 {
		messages = append(messages, m.rooms[i].messages...)
	}
	return messages
}

// add remembers a message. If one with its ID is there already, add returns
// that one and true.
func (m *memory) add(room string, message Message) (Message, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := remembered{room: room}
	if i := m.find(room); i >= 0 {
		entry = m.rooms[i]
		m.rooms = slices.Delete(m.rooms, i, i+1)
	}
	i := slices.IndexFunc(entry.messages, func(old Message) bool { return old.ID == message.ID })
	known := i >= 0
	if known {
		message = entry.messages[i]
	} else {
		entry.messages = appendBounded(entry.messages, message, rememberedMessages)
	}
	m.rooms = appendBounded(m.rooms, entry, rememberedRooms)
	return message, known
}

func (m *memory) find(room string) int {
	return slices.IndexFunc(m.rooms, func(r remembered) bool { return r.room == room })
}

// appendBounded appends an element, and deletes the first ones if there are
// more than limit then.
func appendBounded[T any](s []T, element T, limit int) []T {
	s = append(s, element)
	return slices.Delete(s, 0, max(0, len(s)-limit))
}
