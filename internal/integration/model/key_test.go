package model_test

import (
	"encoding/binary"
	"hash/maphash"
)

// A key identifies a world.
type key []byte

func (k *key) add(numbers ...int) {
	for _, n := range numbers {
		*k = binary.AppendVarint(*k, int64(n))
	}
}

func (k *key) flags(flags ...bool) {
	n := 0
	for i, f := range flags {
		if f {
			n |= 1 << i
		}
	}
	k.add(n)
}

func (k *key) text(s string) {
	k.add(len(s))
	*k = append(*k, s...)
}

func (k *key) members(members []member) {
	k.add(len(members))
	for _, m := range members {
		k.add(m.client, int(m.value))
	}
}

func (k *key) departed(d departed) {
	k.add(d.room, int(d.value))
	k.text(string(d.reason))
	k.text(d.detail)
}

// An identity is a hash of the key of a world. A search remembers millions of them.
type identity [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func (w *world) identity() identity {
	k := make(key, 0, 512)
	k.add(w.round)
	k.add(w.open[:]...)
	for i := range w.rooms {
		r := &w.rooms[i]
		k.add(r.refs)
		k.flags(r.closed)
		k.members(r.members)
		k.members(r.roster)
	}
	for c := range w.clients {
		w.clients[c].key(&k)
	}
	for _, o := range w.outsiders {
		k.add(o.next, o.room, o.at)
		k.flags(o.half)
	}
	k.add(int(w.eviction.stage), w.eviction.room, w.eviction.client)
	if w.storm.action != nil {
		k.add(w.storm.room, w.storm.sent)
	}
	for _, d := range w.debts {
		k.add(d.room, d.round)
		k.text(d.list)
	}
	return identity{maphash.Bytes(seeds[0], k), maphash.Bytes(seeds[1], k)}
}

func (c *client) key(k *key) {
	k.flags(c.known, c.up, c.ended, c.lost, c.leaving)
	k.add(c.code, c.unread, c.next, c.complaints, c.ran)
	k.add(c.seen[:]...)
	for _, d := range c.gone {
		k.departed(d)
	}
	t := &c.task
	k.add(int(t.phase))
	if t.phase == idle {
		return
	}
	if t.action != nil {
		k.add(t.action.n)
	}
	k.add(t.room, t.at, int(t.value), t.failed)
	k.flags(t.half, t.accepted)
	k.departed(t.gone)
	k.text(string(t.reason))
}
