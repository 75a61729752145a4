//go:build linux

package fleet

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
)

// The directories of packages, and the files that pin their versions.
const (
	nodeDir        = "socketio"
	nodeVersions   = "socketio/package-lock.json"
	pythonDir      = "asgi"
	pythonVersions = "asgi/requirements.txt"
)

// installNode installs the packages of the lock file, unless they are installed.
func installNode(ctx context.Context, f *Fleet) error {
	dir := filepath.Join(f.Artifacts, nodeDir)
	return f.once(dir, nodeVersions, func() error {
		for _, name := range []string{"package.json", "package-lock.json"} {
			if err := copyFile(filepath.Join(dir, name), filepath.Join(f.Source, "servers/socketio", name)); err != nil {
				return err
			}
		}
		return f.run(ctx, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
}

// nodeCommand enables garbage collection on request.
func nodeCommand(f *Fleet) []string {
	return []string{
		"node", "--expose-gc", filepath.Join(f.Source, "servers/socketio/server.mjs"),
		"--modules", filepath.Join(f.Artifacts, nodeDir),
	}
}

// installPython installs the requirements, unless they are installed.
func installPython(ctx context.Context, f *Fleet) error {
	dir := filepath.Join(f.Artifacts, pythonDir)
	return f.once(dir, pythonVersions, func() error {
		if err := f.run(ctx, dir, "python3", "-m", "venv", "--clear", "venv"); err != nil {
			return err
		}
		return f.run(ctx, dir, "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--requirement", filepath.Join(f.Source, "servers/asgi/requirements.txt"))
	})
}

func pythonCommand(f *Fleet) []string {
	return []string{filepath.Join(f.Artifacts, pythonDir, "venv/bin/python"), "-B", filepath.Join(f.Source, "servers/asgi/server.py")}
}

// once calls install unless dir has a stamp that equals the pinned versions.
func (f *Fleet) once(dir, versions string, install func() error) error {
	if f.installed(dir, versions) {
		return nil
	}
	want, err := os.ReadFile(filepath.Join(f.Source, "servers", versions))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := install(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stamp), want, 0o600)
}

const stamp = "installed"

func (f *Fleet) installed(dir, versions string) bool {
	want, err := os.ReadFile(filepath.Join(f.Source, "servers", versions))
	if err != nil {
		return false
	}
	have, err := os.ReadFile(filepath.Join(dir, stamp))
	return err == nil && bytes.Equal(have, want)
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}
