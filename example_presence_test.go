package pond_test

import (
	"fmt"
	"strings"

	"github.com/pondsocket/pond"
)

// Ann watches who is in the office without being there. Her page asks for
// differences, in the URL that it connects to.
func ExampleWithPresenceDiffs() {
	type Presence struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	const wentAway pond.Event[struct{}] = "away"

	p := pond.New()
	endpoint := p.Endpoint("/socket", accept, pond.WithJoinByURL())
	office := endpoint.Lobby("/office/:floor", func(ctx *pond.JoinContext) error {
		var who struct {
			Name string `json:"name"`
		}
		if err := ctx.Bind(&who); err != nil {
			return err
		}
		ctx.Assign("name", who.Name)
		if err := ctx.Accept(); err != nil || who.Name == "" {
			return err
		}
		return ctx.Track(Presence{who.Name, "online"})
	}, pond.WithPresenceDiffs())
	pond.On(office, wentAway, func(ctx *pond.EventContext, _ struct{}) error {
		name, _ := ctx.Get("name").(string)
		return ctx.Update(Presence{name, "away"})
	})

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket?join=/office/3&want=diff")
	ann.receive()
	ann.receive()
	bob := v.connect("Bob", "/socket")
	receive := func() {
		m, _ := ann.next()
		fmt.Println("Ann gets", m.Action, m.Event, strings.ReplaceAll(string(m.Payload), bob.id, "bob's ID"))
	}
	bob.join("/office/3", map[string]string{"name": "Bob"})
	receive()
	bob.send("/office/3", "away", nil)
	receive()
	bob.disconnect()
	receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {"diff":true}
	// Ann gets SYSTEM PRESENCE_STATE {"users":[],"total":0,"more":false}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM PRESENCE_DIFF {"joins":[{"id":"bob's ID","presence":{"name":"Bob","status":"online"}}],"total":1}
	// Ann gets SYSTEM PRESENCE_DIFF {"updates":[{"id":"bob's ID","presence":{"name":"Bob","status":"away"}}],"total":1}
	// Ann gets SYSTEM PRESENCE_DIFF {"leaves":[{"id":"bob's ID"}],"total":0}
}
