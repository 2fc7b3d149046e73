package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// An event is something that QEMU tells unasked (QMP specification, "Asynchronous events").
type event struct {
	Name string         `json:"event"`
	Data map[string]any `json:"data"`
}

// qmp is a client of QEMU's control protocol: JSON Lines over a unix socket.
type qmp struct {
	conn   net.Conn
	events chan event
	done   chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// message is anything that QEMU sends.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       *int            `json:"id"`
	event
	reply
}

// eventBacklog is how many unread events are kept; a guest that resets in a
// loop must not fill memory, so later ones are dropped.
const eventBacklog = 256

var errQMPClosed = errors.New("the emulator has closed its control socket")

// newQMP starts the client on conn and leaves the negotiation mode.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, events: make(chan event, eventBacklog), done: make(chan struct{}), waiting: map[int]chan reply{}}
	greeted := make(chan struct{})
	go q.read(greeted)
	select {
	case <-greeted:
	case <-q.done:
		return nil, errQMPClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the emulator's greeting: %w", ctx.Err())
	}
	_, err := q.call(ctx, "qmp_capabilities", nil)
	return q, err
}

func (q *qmp) read(greeted chan struct{}) {
	defer close(q.done)
	var once sync.Once
	_ = readLines(q.conn, func(line []byte, cut bool) bool {
		var m message
		if cut || json.Unmarshal(line, &m) != nil {
			return true // not for us; a call that waits for it ends with its context
		}
		switch {
		case m.Greeting != nil:
			once.Do(func() { close(greeted) })
		case m.Name != "":
			select {
			case q.events <- m.event:
			default:
			}
		case m.ID != nil:
			q.deliver(*m.ID, m.reply)
		}
		return true
	})
}

func (q *qmp) deliver(id int, r reply) {
	q.mu.Lock()
	ch := q.waiting[id]
	delete(q.waiting, id)
	q.mu.Unlock()
	if ch != nil {
		ch <- r
	}
}

// call executes a command and waits for its answer.
func (q *qmp) call(ctx context.Context, command string, args map[string]any) (json.RawMessage, error) {
	q.mu.Lock()
	q.next++
	id, ch := q.next, make(chan reply, 1)
	q.waiting[id] = ch
	q.mu.Unlock()
	defer func() { q.mu.Lock(); delete(q.waiting, id); q.mu.Unlock() }()

	req := map[string]any{"execute": command, "id": id}
	if args != nil {
		req["arguments"] = args
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("internal error: encoding %s: %w", command, err)
	}
	if _, err := q.conn.Write(append(b, '\n')); err != nil {
		return nil, fmt.Errorf("sending %s to the emulator: %w", command, err)
	}
	select {
	case r := <-ch:
		if r.Error != nil {
			return nil, fmt.Errorf("the emulator refuses %s: %s", command, r.Error.Desc)
		}
		return r.Return, nil
	case <-q.done:
		return nil, fmt.Errorf("%s: %w", command, errQMPClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for %s: %w", command, ctx.Err())
	}
}
