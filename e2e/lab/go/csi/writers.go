package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
)

// held is how long it may take until all writers stand still: one may be deep in the kernel.
const held = 10 * time.Second

// holdWriters stops every process of a pod that has the folder mounted, and returns, in any case, what lets those go on
// that it stopped. A pod that starts in this very moment is not seen; while this driver is busy no volume is mounted anew.
func (d *driver) holdWriters(folder string) (goOn func(), err error) {
	var stopped []int
	goOn = func() {
		for _, pid := range stopped {
			// It can't have ended, and its id can't be another's, unless it was killed: then nobody waits for this.
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	place, err := whereabouts(folder)
	if err != nil {
		return goOn, err
	}
	known := map[int]bool{}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		running, err := d.writers(place)
		if err != nil || len(running) == 0 {
			return goOn, err
		}
		if time.Since(start) > held {
			return goOn, fmt.Errorf("processes %v do not stand still", running)
		}
		// What a process started before it stood still is found in the next round.
		for _, pid := range running {
			if known[pid] {
				continue
			}
			known[pid] = true
			if err := syscall.Kill(pid, syscall.SIGSTOP); err == nil {
				stopped = append(stopped, pid)
			} else if !errors.Is(err, syscall.ESRCH) {
				return goOn, err
			}
		}
	}
}

// writers are the processes of pods that have the place mounted and don't stand still.
func (d *driver) writers(place place) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var running []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// Whatever can't be read is of a process that has ended.
		if folder := filepath.Join("/proc", e.Name()); d.isOfPod(folder) && sees(folder, place) && !isStill(folder) {
			running = append(running, pid)
		}
	}
	return running, nil
}

func (d *driver) isOfPod(process string) bool {
	text, _ := os.ReadFile(filepath.Join(process, "cgroup"))
	for line := range strings.Lines(string(text)) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 && strings.HasPrefix(fields[2], d.pods+"/") {
			return true
		}
	}
	return false
}

func sees(process string, place place) bool {
	file, err := os.Open(filepath.Join(process, "mountinfo"))
	if err != nil {
		return false
	}
	defer file.Close()
	mounts, err := mountinfo.GetMountsFromReader(file, place.isOther)
	return err == nil && len(mounts) > 0
}

// isStill says whether no thread of a process runs: stopped, or ended.
func isStill(process string) bool {
	threads, _ := filepath.Glob(filepath.Join(process, "task/*/stat"))
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything.
		_, state, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		if state != "" && !strings.ContainsRune("TtZX", rune(state[0])) {
			return false
		}
	}
	return true
}
