package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// entry is what is written down beside the data of a volume or a snapshot.
type entry struct {
	// Name is what it was asked for by.
	Name string
	// Source is the id of what it was copied from, if it was.
	Source   string
	Capacity int64
	Created  time.Time
}

// shelf holds all volumes, or all snapshots: each a folder named by its id, which is either whole or not there.
type shelf struct {
	folder, prefix string
}

const (
	unfinished = ".unfinished-"
	removed    = ".removed-"
)

var idPattern = regexp.MustCompile(`^[a-z]+-[0-9a-f]{32}$`)

// openShelf makes the shelf where it is not there, and clears away what a driver was at when it was killed.
func openShelf(root, folder, prefix string) (shelf, error) {
	s := shelf{filepath.Join(root, folder), prefix}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return s, err
	}
	found, err := os.ReadDir(s.folder)
	if err != nil {
		return s, err
	}
	for _, f := range found {
		if strings.HasPrefix(f.Name(), ".") {
			if err := os.RemoveAll(filepath.Join(s.folder, f.Name())); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// id follows from the name that was asked for, so that asking again finds the same, and no name leads out of the shelf.
func (s shelf) id(name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.prefix + hex.EncodeToString(sum[:16])
}

// data is the folder of the content. The id is one that find has found.
func (s shelf) data(id string) string {
	return filepath.Join(s.folder, id, "data")
}

// find says what is written down of an id, and whether there is such a one. Of an id that is none of ours there is not.
func (s shelf) find(id string) (entry, bool, error) {
	var e entry
	if !idPattern.MatchString(id) || !strings.HasPrefix(id, s.prefix) {
		return e, false, nil
	}
	text, err := os.ReadFile(filepath.Join(s.folder, id, "entry.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	return e, true, json.Unmarshal(text, &e)
}

// add puts a new one on the shelf; fill makes its folder of content.
func (s shelf) add(e entry, fill func(data string) error) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	id := s.id(e.Name)
	folder := filepath.Join(s.folder, unfinished+id)
	// Of an earlier attempt.
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	if err := fill(filepath.Join(folder, "data")); err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	if err := os.WriteFile(filepath.Join(folder, "entry.json"), text, 0o600); err != nil {
		return err
	}
	return os.Rename(folder, filepath.Join(s.folder, id))
}

// remove takes one off the shelf, if it is there.
func (s shelf) remove(id string) error {
	if _, there, err := s.find(id); err != nil || !there {
		return err
	}
	going := filepath.Join(s.folder, removed+id)
	if err := os.RemoveAll(going); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.folder, id), going); err != nil {
		return err
	}
	return os.RemoveAll(going)
}

// ids are of all that are on the shelf, in their order.
func (s shelf) ids() ([]string, error) {
	found, err := os.ReadDir(s.folder)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, f := range found {
		if idPattern.MatchString(f.Name()) {
			ids = append(ids, f.Name())
		}
	}
	return ids, nil
}
