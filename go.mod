module github.com/pondsocket/pond

// 1.26 for testing/synctest, errors.AsType and sync.WaitGroup.Go.
go 1.26
