//go:build !unix

package pond

// maxDescriptors returns 0: the system has no limit that could be asked for.
func maxDescriptors() uint64 { return 0 }
