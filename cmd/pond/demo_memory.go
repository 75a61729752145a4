package main

import (
	"slices"
	"sync"
)

// The limits of the memory.
const (
	rememberedMessages = 50 // per room
	rememberedRooms    = 100
)

// A memory stores the last messages of the rooms that were used last. The zero value is
// empty.
type memory struct {
	mu    sync.Mutex
	rooms []remembered // in order of last use
}

type remembered struct {
	room     string
	messages []Message // oldest first
}

// of returns the messages of a room, oldest first.
func (m *memory) of(room string) []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	messages := []Message{} // encoded as an empty list, not as null
	if i := m.find(room); i >= 0 {
		messages = append(messages, m.rooms[i].messages...)
	}
	return messages
}

// add stores a message and returns it. If there is already one with the same ID, add
// returns that one and true.
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

// appendBounded appends an element, and deletes the first elements beyond limit.
func appendBounded[T any](s []T, element T, limit int) []T {
	s = append(s, element)
	return slices.Delete(s, 0, max(0, len(s)-limit))
}
