//go:build race

package codec_test

const checks = 100
