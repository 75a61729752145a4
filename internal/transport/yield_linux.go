package transport

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// yieldToReaders lets other goroutines run that are ready, and those that wait for data
// of clients which has arrived. It does not wait for more data.
//
// [runtime.Gosched] is not enough: the scheduler asks the system for data that arrived
// only when no goroutine is ready, so the caller would run again before that.
// yieldToReaders waits for an event of its own instead. The system reports events in
// their order, so this one comes after the data that arrived before.
func yieldToReaders() {
	b := bells.Get().(*bell)
	if b.raw == nil {
		runtime.Gosched() // too many files are open
		return
	}
	b.rung = false
	_ = b.raw.Read(b.try) // never fails, because it is never closed
	bells.Put(b)
}

// A bell is a file for events of one goroutine at a time.
type bell struct {
	raw  syscall.RawConn // nil if the system has no more files
	rung bool
	try  func(fd uintptr) bool // the method value of ring, created once
}

// bells has as many open files as shards are drained at the same time. The garbage
// collector closes unused ones.
var bells = sync.Pool{New: func() any { return newBell() }}

func newBell() *bell {
	b := new(bell)
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return b
	}
	raw, err := os.NewFile(fd, "eventfd").SyscallConn()
	if err != nil {
		return b
	}
	b.raw = raw
	b.try = b.ring
	return b
}

// ring rings the bell, and returns false so that the caller waits for the event. After
// the event, it is called again.
func (b *bell) ring(fd uintptr) bool {
	if b.rung {
		return true
	}
	b.rung = true
	one := uint64(1)
	_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one)) //nolint:gosec // see eventfd(2)
	return errno != 0
}
