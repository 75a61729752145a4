package model_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/pondsocket/pond"
)

// A speaker has the common methods of the contexts of joins and events.
type speaker interface {
	User() pond.User
	Get(key string) any
	Track(presence any) error
	Reply(event string, payload any) error
	Broadcast(event string, payload any) error
	Others() pond.Audience
}

// effect applies an effect of a handler.
func (s *stage) effect(ctx speaker, ch *pond.Channel, a action, e effect) error {
	v := a.value(e)
	switch e.what {
	case toAll:
		return ctx.Broadcast("said", v.raw())
	case toMasked:
		return ctx.Broadcast("masked", v.raw())
	case toOthers:
		return ctx.Others().Broadcast("said", v.raw())
	case reply:
		return ctx.Reply("answer", json.RawMessage(a.payload()))
	case whisper:
		return ctx.Reply("masked", v.raw())
	case read:
		read, _ := ctx.Get(valueKey).(value)
		return ctx.Reply("read", read.raw())
	case refuse:
		return pond.Errorf(418, "refused")
	case fail:
		return errSecret
	case panics:
		panic(secret)
	case track:
		if e.to == nil {
			return ctx.Track(v.raw())
		}
	}
	target := ctx.User().ID
	if len(e.to) > 0 {
		target = s.id(e.to[0])
	}
	return s.channelEffect(ch, target, a, e)
}

// channelEffect applies an effect that is available to outsiders as well.
func (s *stage) channelEffect(ch *pond.Channel, target string, a action, e effect) error {
	v := a.value(e)
	switch e.what {
	case nap:
		doze()
		return nil
	case toAll:
		return ch.Broadcast("said", v.raw())
	case storm:
		s.storm(ch, v)
		return nil
	case toMasked:
		return ch.Broadcast("masked", v.raw())
	case toThese:
		return ch.To(s.idsOf(e.to)...).Broadcast("said", v.raw())
	case toExcept:
		return ch.Except(s.idsOf(e.to)...).Broadcast("said", v.raw())
	case track:
		return ch.Track(target, v.raw())
	case update:
		return ch.Update(target, v.raw())
	case upsert:
		return ch.Upsert(target, v.raw())
	case untrack:
		return ch.Untrack(target)
	case assign:
		return ch.Assign(target, valueKey, v)
	case evict:
		return ch.Evict(target, evictedBy(a))
	case closeRoom:
		ch.Close(closedBy(a))
		return nil
	}
	return errors.New("unknown effect " + e.what)
}

// storm starts a storm. The caller must wait for its end with [stage.calm].
func (s *stage) storm(ch *pond.Channel, v value) {
	begun := make(chan struct{})
	s.storms.Go(func() {
		close(begun)
		for i := range storms {
			_ = ch.Broadcast("said", v.of(i).raw()) // the channel may be closed
		}
	})
	<-begun
}

// calm waits for the end of a storm. There is at most one per round.
func (s *stage) calm(a action) {
	if slices.ContainsFunc(a.do, func(e effect) bool { return e.what == storm }) {
		s.storms.Wait()
	}
}

func (s *stage) idsOf(clients []int) []string {
	var ids []string
	for _, c := range clients {
		ids = append(ids, s.id(c))
	}
	return ids
}

func evictedBy(a action) string { return "evicted by " + strconv.Itoa(a.n) }

func closedBy(a action) string { return "closed by " + strconv.Itoa(a.n) }

// status returns the status of an error that a client would receive, or 0 for no error.
func status(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*pond.Error](err); ok {
		return e.Code
	}
	return 500
}
