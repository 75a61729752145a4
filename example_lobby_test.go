package pond_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// A join handler decides who becomes a member of a channel. Parts of the channel's
// name are parameters in the pattern of the lobby.
func ExampleEndpoint_Lobby() {
	// enterRoom accepts everybody, except in the staff room.
	enterRoom := func(ctx *pond.JoinContext) error {
		var params struct {
			Badge string `json:"badge"`
		}
		if err := ctx.Bind(&params); err != nil {
			return err // 400: the parameters have the wrong type
		}
		if ctx.Channel().Param("room") == "staff" && params.Badge != "staff" {
			return ctx.Decline(http.StatusForbidden, "staff only")
		}
		return ctx.Accept()
	}

	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	endpoint.Lobby("/rooms/:room", enterRoom)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/rooms/lounge")
	ann.join("/rooms/staff", map[string]string{"badge": "visitor"})
	ann.join("/rooms/staff", map[string]string{"badge": "staff"})
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM UNAUTHORIZED {"code":"UNAUTHORIZED_JOIN_REQUEST","message":"staff only","status":403,"statusCode":403,"error":{"message":"staff only","status":403}}
	// Ann gets SYSTEM ACKNOWLEDGE {}
}

// Code outside of handlers, such as jobs and HTTP handlers, finds a live channel
// by its name.
func ExampleEndpoint_Channel() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	orders := endpoint.Lobby("/orders/:id", admit)

	ship := func(order string) {
		name, err := orders.ChannelName("id", order) // the name that clients use
		if err != nil {
			fmt.Println(err)
			return
		}
		ch, ok := endpoint.Channel(name)
		if !ok {
			fmt.Println("nobody is looking at order", order)
			return
		}
		if err := ch.Broadcast("shipped", nil); err != nil {
			fmt.Println(err)
		}
	}

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/orders/A%2F42") // encodeURIComponent("A/42") in JavaScript
	ship("A/42")
	ann.receive()
	ship("A/43")
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST shipped {}
	// nobody is looking at order A/43
}

// A leave handler runs once per membership, for whatever reason the membership
// ends. The member already left, so a broadcast goes to the remaining members.
func ExampleLobby_OnLeave() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnLeave(func(ctx *pond.LeaveContext) error {
		return ctx.Broadcast("left", map[string]string{"why": string(ctx.Reason()), "detail": ctx.Detail()})
	})
	lobby.OnMessage("kick/:id", func(ctx *pond.EventContext) error {
		return ctx.Channel().Evict(ctx.Param("id"), "spam")
	})

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1")
	asks, closes, spams := v.connect("Bob", "/socket"), v.connect("Cid", "/socket"), v.connect("Dan", "/socket")
	for _, g := range []*guest{asks, closes, spams} {
		g.join("/chat/1")
	}

	asks.leave("/chat/1")
	ann.receive()
	closes.disconnect()
	ann.receive()
	ann.send("/chat/1", "kick/"+spams.id, nil)
	ann.next() // the eviction
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Cid gets SYSTEM ACKNOWLEDGE {}
	// Dan gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST left {"detail":"","why":"explicit_leave"}
	// Ann gets BROADCAST left {"detail":"","why":"connection_closed"}
	// Ann gets BROADCAST left {"detail":"spam","why":"evicted"}
}

// OnFirstJoin creates the state of a room, and OnLastLeave saves it.
func ExampleLobby_OnFirstJoin() {
	type poll struct {
		mu    sync.Mutex // handlers of several members run at the same time
		votes map[string]int
	}
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/polls/:id", admit)
	lobby.OnFirstJoin(func(ctx *pond.JoinContext) error {
		fmt.Println("open poll", ctx.Param("id")) // such as: load it from a database
		ctx.Channel().SetState(&poll{votes: map[string]int{}})
		return nil
	})
	lobby.OnMessage("vote/:choice", func(ctx *pond.EventContext) error {
		poll := ctx.Channel().State().(*poll)
		poll.mu.Lock()
		defer poll.mu.Unlock()
		poll.votes[ctx.Param("choice")]++
		return ctx.Broadcast("votes", poll.votes) // does not block, and encodes the map at once
	})
	lobby.OnLastLeave(func(ctx *pond.LeaveContext) error {
		fmt.Println("save poll", ctx.Param("id"), ctx.Channel().State().(*poll).votes)
		return nil
	})

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/polls/1")
	bob.join("/polls/1")
	ann.send("/polls/1", "vote/tea", nil)
	bob.next() // Ann's vote
	bob.send("/polls/1", "vote/tea", nil)
	bob.receive()
	ann.leave("/polls/1")
	bob.leave("/polls/1")
	// Output:
	// open poll 1
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Bob gets BROADCAST votes {"tea":2}
	// save poll 1 map[tea:2]
}

// An OnOutgoing handler runs once for each recipient of an event. It can change or
// block the event for this recipient.
func ExampleLobby_OnOutgoing() {
	// An Offer is an item on the market. Only buyers see its price.
	type Offer struct {
		Item  string `json:"item"`
		Price int    `json:"price,omitempty"`
	}

	const offered pond.Event[Offer] = "offer"

	hidePrice := func(ctx *pond.OutgoingContext) error {
		switch ctx.Get("role") {
		case "buyer":
			return nil // unchanged
		case "visitor":
			var offer Offer
			if err := ctx.Bind(&offer); err != nil {
				return err
			}
			offer.Price = 0
			return ctx.Transform(offer)
		default:
			ctx.Block()
			return nil
		}
	}

	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("role", ctx.Query().Get("role"))
		return ctx.Accept()
	})
	lobby := endpoint.Lobby("/market", admit)
	lobby.OnOutgoing("offer", hidePrice)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket?role=buyer")
	bob := v.connect("Bob", "/socket?role=visitor")
	ann.join("/market")
	bob.join("/market")

	market, _ := endpoint.Channel("/market")
	if err := market.Broadcast(offered.With(Offer{"lamp", 40})); err != nil {
		panic(err)
	}
	ann.receive()
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST offer {"item":"lamp","price":40}
	// Bob gets BROADCAST offer {"item":"lamp"}
}

// On registers a handler that gets its payload decoded. If decoding fails, the
// client gets 400, and the handler does not run.
func ExampleOn() {
	// A Move is sent by a player and broadcast to all players.
	type Move struct {
		From string `json:"from"`
		To   string `json:"to"`
	}

	// moved is the event for receiving and for sending.
	const moved pond.Event[Move] = "move"

	onMove := func(ctx *pond.EventContext, m Move) error {
		if m.From == m.To {
			return pond.Errorf(http.StatusUnprocessableEntity, "%s is where it is already", m.From)
		}
		return ctx.Broadcast(moved.With(m))
	}

	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/games/:id", admit)
	pond.On(lobby, moved, onMove)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/games/7")
	ann.send("/games/7", "move", Move{"e2", "e4"})
	ann.receive()
	ann.send("/games/7", "move", map[string]int{"from": 52})
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST move {"from":"e2","to":"e4"}
	// Ann gets ERROR HANDLER_NOT_FOUND {"code":400,"message":"the payload does not have the expected form","status":400,"statusCode":400,"error":{"message":"the payload does not have the expected form","status":400}}
}

// Evict ends one membership, Close ends all memberships of a channel, and
// Disconnect ends a connection.
func ExampleChannel_Evict() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	endpoint.Lobby("/chat/:room", admit)

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/chat/1")
	bob.join("/chat/1")

	chat, _ := endpoint.Channel("/chat/1")
	_ = chat.Evict(bob.id, "spam")
	bob.receive()
	bob.receive() // the same in the form that other official clients expect
	ann.next()    // the eviction of Bob, with his ID
	chat.Close("closing time")
	ann.receive()
	_ = endpoint.Disconnect(bob.id, http.StatusForbidden, "banned")
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM kicked_out {"message":"spam","code":403,"reason":"spam"}
	// Bob gets SYSTEM EVICTED {"reason":"spam"}
	// Ann gets ERROR destroyed {"message":"closing time"}
	// Bob is disconnected
}

// The channels of a lobby with history keep their latest messages. Code anywhere in
// the program publishes to them by name, whether clients listen or not.
func ExampleWithHistory() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept, pond.WithJoinByURL())
	endpoint.Lobby("/orders/:id", admit, pond.WithHistory(pond.History{Newcomers: 10}))

	for _, status := range []string{"paid", "packed", "shipped"} {
		err := endpoint.Publish(context.Background(), "/orders/7", "status", map[string]string{"now": status})
		if err != nil {
			fmt.Println(err)
		}
	}
	for entry, err := range endpoint.History(context.Background(), "/orders/7", pond.Last(1)) {
		fmt.Println(entry.Position.Offset, entry.Event, string(entry.Payload), err)
	}

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket?join=/orders/7&last=2")
	ann.next() // the acknowledgement
	ann.receive()
	ann.receive()
	// Output:
	// 3 status {"now":"shipped"} <nil>
	// Ann gets BROADCAST status {"now":"packed"}
	// Ann gets BROADCAST status {"now":"shipped"}
}

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

// On a board of prices, a new price makes the earlier ones of its symbol obsolete. News
// must arrive.
func ExampleKeepLatest() {
	// symbolOf returns the key of a message. Messages with an empty key are never dropped.
	symbolOf := func(event string, payload json.RawMessage) string {
		var price struct {
			Symbol string `json:"symbol"`
		}
		if event != "price" || json.Unmarshal(payload, &price) != nil {
			return ""
		}
		return price.Symbol
	}

	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	endpoint.Lobby("/board/:market", admit, pond.WithSlowClients(pond.KeepLatest(symbolOf)))

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/board/nyse")
	board, _ := endpoint.Channel("/board/nyse")
	_ = board.Broadcast("price", map[string]any{"symbol": "ACME", "price": 12.5})
	_ = board.Broadcast("price", map[string]any{"symbol": "ACME", "price": 12.75})
	ann.receive() // Ann does not lag, so she receives both
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST price {"price":12.5,"symbol":"ACME"}
	// Ann gets BROADCAST price {"price":12.75,"symbol":"ACME"}
}

// Ann reloads a page that is open in two tabs. Bob receives a message when she comes and
// when she leaves, and none in between.
func ExampleWithLeaveGrace() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		person := ctx.Query().Get("person") // in a real program: of a session or token
		if err := ctx.Identify(person); err != nil {
			return err
		}
		return ctx.Accept()
	})
	chat := endpoint.Lobby("/chat/:room", admit, pond.WithLeaveGrace(10*time.Second))
	chat.OnIdentityJoin(func(ctx *pond.JoinContext) error {
		return ctx.Channel().Broadcast("comes", map[string]string{"who": ctx.User().Identity()})
	})
	chat.OnIdentityLeave(func(ctx *pond.LeaveContext) error {
		if ctx.Reason() == pond.LeaveShutdown {
			return nil // in a cluster, they reconnect to another node
		}
		return ctx.Broadcast("leaves", map[string]string{"who": ctx.User().Identity()})
	})

	v := serve(p, p)
	defer v.close()
	bob := v.connect("Bob", "/socket?person=bob")
	bob.join("/chat/1")

	one, two := v.connect("Tab 1", "/socket?person=ann"), v.connect("Tab 2", "/socket?person=ann")
	one.join("/chat/1")
	bob.receive()
	two.join("/chat/1")
	one.disconnect()
	two.disconnect()

	again := v.connect("Tab 2, reloaded", "/socket?person=ann")
	again.join("/chat/1")
	_ = endpoint.DisconnectIdentity("ann", http.StatusUnauthorized, "signed out") // without a grace
	bob.receive()
	// Output:
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Tab 1 gets SYSTEM ACKNOWLEDGE {}
	// Bob gets BROADCAST comes {"who":"ann"}
	// Tab 2 gets SYSTEM ACKNOWLEDGE {}
	// Tab 2, reloaded gets SYSTEM ACKNOWLEDGE {}
	// Bob gets BROADCAST leaves {"who":"ann"}
}

// A page shows each person once, however many tabs they have.
func ExampleWithPresenceIdentities() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if person := ctx.Query().Get("person"); person != "" {
			if err := ctx.Identify(person); err != nil {
				return err
			}
		}
		return ctx.Accept()
	}, pond.WithJoinByURL())
	endpoint.Lobby("/office/:floor", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil || ctx.User().Identity() == "" {
			return err
		}
		return ctx.Track(map[string]string{"status": "online"})
	}, pond.WithPresenceDiffs(), pond.WithPresenceIdentities())

	v := serve(p, p)
	defer v.close()
	tab, phone := v.connect("Ann's tab", "/socket?person=ann"), v.connect("Ann's phone", "/socket?person=ann")
	tab.join("/office/3")
	waitTracked(endpoint, "/office/3", 1)
	phone.join("/office/3")
	waitTracked(endpoint, "/office/3", 2)
	phone.next() // the list of both
	door := v.connect("The screen at the door", "/socket?join=/office/3&want=diff")
	door.receive()
	state, _ := door.next()
	fmt.Println(strings.NewReplacer(tab.id, "ID of the tab", phone.id, "ID of the phone").Replace(string(state.Payload)))
	// Output:
	// Ann's tab gets SYSTEM ACKNOWLEDGE {}
	// Ann's phone gets SYSTEM ACKNOWLEDGE {}
	// The screen at the door gets SYSTEM ACKNOWLEDGE {"diff":true}
	// {"users":[{"id":"ID of the tab","user":"ann","presence":{"status":"online"}},{"id":"ID of the phone","user":"ann","presence":{"status":"online"}}],"total":2,"more":false}
}
