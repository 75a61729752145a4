package transport

import (
	"errors"
	"fmt"
	"net/http"
)

// A hiddenError means that a middleware's wrapper of an [http.ResponseWriter] hides an
// interface that a connection needs. No response was sent. It is an
// [http.ErrNotSupported].
type hiddenError struct {
	w     http.ResponseWriter // the outermost wrapper
	what  string              // the hidden interface
	cause error
}

func (e *hiddenError) Error() string {
	const text = "%T hides %s: %s"
	culprit := innermost(e.w)
	remedy := "add an Unwrap method, or do not wrap the Pond in this middleware"
	if fmt.Sprintf("%T", culprit) == "*http.timeoutWriter" {
		remedy = "mount the Pond outside of http.TimeoutHandler"
	}
	if !errors.Is(e.cause, http.ErrNotSupported) {
		remedy += " (" + e.cause.Error() + ")"
	}
	return fmt.Sprintf(text, culprit, e.what, remedy)
}

func (e *hiddenError) Is(target error) bool { return target == http.ErrNotSupported }

// innermost returns the last writer that can be reached from w: net/http's own,
// or a wrapper that hides it.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// flushes reports whether data written to w can be flushed. The innermost writer
// decides: wrappers around it may have a Flush that does nothing, or panics.
func flushes(w http.ResponseWriter) bool {
	switch innermost(w).(type) {
	case http.Flusher, interface{ FlushError() error }:
		return true
	}
	return false
}

// guard calls a method of a middleware's wrapper. Many of them assume that they
// wrap net/http's own writer, and panic if they do not.
func guard(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return call()
}
