package main

import (
	"net/http"

	"github.com/pondsocket/pond"
)

// A Position is a position on the board, from 0 to 1 in both directions.
type Position struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// A Moved is sent when a cursor moved.
type Moved struct {
	ID string `json:"id"`
	Position
}

// A Person is the presence of a member. Position is nil if moves are events. Presence
// differences contain the user ID of each member.
type Person struct {
	Name     string    `json:"name"`
	Position *Position `json:"position,omitempty"`
}

const (
	move  pond.Event[Position] = "move"
	moved pond.Event[Moved]    = "moved"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error {
	var hello struct {
		Name string `json:"name"`
	}
	if err := ctx.Bind(&hello); err != nil {
		return err
	}
	if len(hello.Name) < 1 || len(hello.Name) > 40 {
		return ctx.Decline(http.StatusBadRequest, "a name must have 1 to 40 bytes")
	}
	if err := ctx.Accept(); err != nil {
		return err
	}
	person := Person{Name: hello.Name}
	ctx.Assign("person", person)
	return ctx.Track(person)
}

func (p Position) check() error {
	if p.X < 0 || p.X > 1 || p.Y < 0 || p.Y > 1 {
		return pond.Errorf(http.StatusBadRequest, "x and y must be from 0 to 1")
	}
	return nil
}

// moveByEvent sends the move to the other members at once and stores nothing. With n
// members, a move costs n small messages.
func moveByEvent(ctx *pond.EventContext, p Position) error {
	if err := p.check(); err != nil {
		return err
	}
	return ctx.Others().Broadcast(moved.With(Moved{ctx.User().ID, p}))
}

// moveByPresence makes the position part of the presence. A new member sees all positions
// at once. The members receive differences: the latest position of each member that moved,
// about 20 times per second.
func moveByPresence(ctx *pond.EventContext, p Position) error {
	if err := p.check(); err != nil {
		return err
	}
	person, _ := ctx.Get("person").(Person)
	person.Position = &p
	return ctx.Update(person)
}
