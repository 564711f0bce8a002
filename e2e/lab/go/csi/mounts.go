package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// place is where a folder lies: in which file system, and at which path of it. All mounts of a folder have its place in
// common, in whatever namespace they are.
type place struct {
	major, minor int
	path         string
}

func whereabouts(folder string) (place, error) {
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return place{}, err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !within(folder, m.Mountpoint), false
	})
	if err != nil {
		return place{}, err
	}
	var nearest *mountinfo.Info
	for _, m := range mounts {
		// Of two at the same point the later one covers the earlier one.
		if nearest == nil || len(m.Mountpoint) >= len(nearest.Mountpoint) {
			nearest = m
		}
	}
	if nearest == nil {
		return place{}, fmt.Errorf("%s lies in no file system", folder)
	}
	below, err := filepath.Rel(nearest.Mountpoint, folder)
	return place{nearest.Major, nearest.Minor, filepath.Join(nearest.Root, below)}, err
}

// isOther is a filter of mounts: it skips those of other places. A mount of a folder within is one of this place.
func (p place) isOther(m *mountinfo.Info) (skip, stop bool) {
	return m.Major != p.major || m.Minor != p.minor || !within(m.Root, p.path), false
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// mountsOf are the mounts of a folder on this node.
func mountsOf(folder string) ([]*mountinfo.Info, error) {
	p, err := whereabouts(folder)
	if err != nil {
		return nil, err
	}
	return mountinfo.GetMounts(p.isOther)
}
