//go:build !unix

package doctor

func openFiles() (int, bool) { return 0, false }
