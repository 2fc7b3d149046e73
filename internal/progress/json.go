package progress

import (
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// jsonFace writes one object a line: the event, and the milliseconds since the start.
type jsonFace struct {
	mu    sync.Mutex
	o     Options
	enc   *json.Encoder
	began time.Time
	err   error
}

func newJSON(o Options) Face {
	enc := json.NewEncoder(o.Out)
	enc.SetEscapeHTML(false)
	return &jsonFace{o: o, enc: enc, began: o.Now()}
}

// Report writes e.
func (j *jsonFace) Report(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.enc.Encode(struct {
		Milliseconds int64 `json:"ms"`
		Event
	}{j.o.Now().Sub(j.began).Milliseconds(), e})
	j.err = errors.Join(j.err, err)
}

// Close reports the first failure to write.
func (j *jsonFace) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}
