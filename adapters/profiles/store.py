"""The profiles behind the port Profiles: who may touch which, when, and what a session gets to work in."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from adapters.profiles import (
    cloning,
    cookies,
    facts,
    folders,
    ground,
    in_use,
    live,
    locks,
    preferences,
    promotion,
    pruning,
    refusals,
    safekeeping,
)
from adapters.profiles.ground import Trouble, is_profile_name
from adapters.profiles.settings import ProfilesSettings
from daemon.domain.errors import Code, Interrupted, Rejected, StartRefused
from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.session import (
    ProfileFacts,
    SessionKind,
    SessionOrder,
    Survey,
    Workplace,
)  # fmt: skip
from daemon.domain.times import iso
from daemon.ports import Clock

LOG = logging.getLogger("tokd.profiles")


@dataclass(frozen=True, slots=True)
class _Held:
    """What is remembered of a session until its release."""

    locks: tuple[int, ...]
    profile: ProfileName | None = None
    taken_from: dict[str, promotion.Mark] | None = None
    is_live: bool = False  # a browser had the profile open: what it held locked is not in the clone
    copy: str = ""  # of a login's cookies, where they need a keyring
    jar: cookies.Jar = field(default_factory=lambda: cookies.Jar({}))  # the clone's, before a browser had it


class ProfileStore:
    """Profiles, clones and backups on disk (daemon.ports.Profiles). Every method may be called from any thread.

    On disk: `<root>/<profile>`, `<root>/clones/<session>/`, `<root>/backups/`, and the locks in `<root>/.locks/`.
    A profile's own folder is never written to but by its login and by `promote`.
    """

    def __init__(
        self,
        settings: ProfilesSettings,
        clock: Clock,
        *,
        reached: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """`reached` is told each step of a promotion, for tests that break off there."""
        self._settings = settings
        self._clock = clock
        self._reached = reached
        self._root = settings.root.absolute()
        clones = settings.clones_dir.absolute() if settings.clones_dir else self._root / ground.CLONES
        self._stopping = threading.Event()
        runtime = settings.environ.get("XDG_RUNTIME_DIR", "")
        bases = [Path(runtime)] if runtime else []
        self._folders = folders.Folders(clones, (*bases, settings.temp_base), self._stopping.wait)
        self._guard = threading.Lock()
        self._held: dict[SessionId, _Held] = {}

    def open(self) -> None:
        """Make the folders, for the person alone, and finish what an interrupted promotion has left.

        Raises StartRefused.
        """
        for trouble in self.problems():
            raise StartRefused(str(trouble))
        try:
            for path in (self._root, self._folders.path):
                ground.make(path)
            for place in promotion.recover(self._root, self._clock.now()):
                LOG.warning("a promotion was cut short: what it had in hand is kept in %s", place)
        except OSError as error:
            raise StartRefused(
                f"the profiles' folder {error.filename or self._root} cannot be used: {error.strerror}; "
                "see session.user_data_master_dir and session.clones_dir"
            ) from error

    def problems(self) -> list[Trouble]:
        """Return why `open` would refuse the two folders, without making or changing anything."""
        return ground.troubles(self._root, self._folders.path)

    def close(self) -> None:
        """Cut short what waits. Safe twice."""
        self._stopping.set()

    # -- a session's workplace ---------------------------------------------------------------------------

    def prepare(self, order: SessionOrder, stop: Callable[[], bool] = cloning.never) -> Workplace:
        """Make the session's folder, hold its lock, and clone the profile into it."""
        if not is_profile_name(order.profile) or self._is_clones(self._master(order.profile)):
            raise refusals.bad_name(order.profile)
        try:
            for path in (self._root, self._folders.path):
                path.mkdir(mode=ground.PRIVATE, parents=True, exist_ok=True)
            master = self._master(order.profile)
            if os.path.lexists(master) and not master.is_dir():
                raise refusals.no_folder(order.profile, str(master))
            self._refuse_full_disk(self._folders.path)
            if order.kind is SessionKind.LOGIN:
                self._refuse_full_disk(master if master.is_dir() else self._root)
                return self._prepare_login(order)
            return self._prepare_clone(order, stop)
        except OSError as error:
            raise refusals.disk_failed(error, f"preparing a session of profile {order.profile!r}") from error

    def _prepare_login(self, order: SessionOrder) -> Workplace:
        master = self._master(order.profile)
        with ExitStack() as undo:
            who = f"a tokd login session ({order.session})"
            lock = locks.own(self._root, order.profile, who, self._stopping.wait)
            undo.callback(os.close, lock)
            if (holder := in_use.holder_of(master)) is not None:
                raise refusals.held(order.profile, holder, master, "close that browser")
            jar, copy = cookies.Jar({}), ""
            if master.is_dir():
                jar = cookies.read(master)
                self._refuse_risk(order.profile, jar)
            folder = self._folders.make(order.session, master, self._note(order))
            undo.callback(os.close, folder.lock)
            undo.callback(self._folders.remove, folder.path, folder.temp_dir)
            master.mkdir(mode=ground.PRIVATE, exist_ok=True)
            if jar.tags:
                copy = str(safekeeping.keep(self._root, order.profile, master, self._clock.now()))
            undo.pop_all()
        return self._workplace(order.session, folder, _Held((folder.lock, lock), copy=copy, jar=jar), ())

    def _prepare_clone(self, order: SessionOrder, stop: Callable[[], bool]) -> Workplace:
        master = self._master(order.profile)
        if not master.is_dir():
            raise refusals.no_such_profile(order.profile, self._names(), self._settings.default_profile)
        with ExitStack() as undo, self._shared(order.profile):
            is_live = self._refuse_in_use(order.profile, master)
            taken_from = promotion.fingerprint(master)
            folder = self._folders.make(order.session, None, self._note(order))
            undo.callback(os.close, folder.lock)
            undo.push(self._undoing(folder))
            walk, warnings = live.walk_for(order.profile, stop, is_live=is_live)
            walk.run(master, folder.user_data_dir)
            if not is_live and self._is_disturbed(master, taken_from):
                raise refusals.locked(order.profile, "a browser that was started meanwhile", "try again")
            jar = cookies.read(folder.user_data_dir)
            self._refuse_lost_key(order.profile, jar)
            told = (*warnings(), *jar.unread, *preferences.patch(folder.user_data_dir))
            undo.pop_all()
        held = _Held((folder.lock,), order.profile, taken_from, is_live, jar=jar)
        return self._workplace(order.session, folder, held, told)

    def _undoing(self, folder: folders.Folder) -> Callable[..., None]:
        """Return what removes a folder that was made in vain: without keeping anybody waiting who asked for the end."""

        def undo(kind: type[BaseException] | None, _error: object, _trace: object) -> None:
            is_interrupted = kind is not None and issubclass(kind, Interrupted)
            remove = self._folders.give_up if is_interrupted else self._folders.remove
            remove(folder.path, folder.temp_dir)

        return undo

    def release(self, place: Workplace) -> bool:
        """Remove the folder and what belongs to it, let go of the locks."""
        folder = Path(place.folder)
        if folder.parent != self._folders.path:
            return False
        with self._guard:
            held = self._held.pop(place.session, None)
        if held is None:
            return not os.path.lexists(folder)
        is_gone = self._folders.remove(folder, Path(place.temp_dir))
        for lock in held.locks:
            with suppress(OSError):
                os.close(lock)
        return is_gone

    def survey(self) -> Survey:
        """Look through the folder of sessions, and lock those that nobody holds."""
        now = self._clock.now().timestamp()
        cookies.clear_copies(now)
        found, held = self._folders.survey(now, self._is_master)
        orphans = tuple(
            self._workplace(session, folder, _Held((folder.lock,)), ()) for session, folder in found.items()
        )
        return Survey(orphans=orphans, held=frozenset(held))

    # -- the profiles ------------------------------------------------------------------------------------

    def promote(self, place: Workplace, profile: ProfileName) -> str:
        """Make the cleanly closed clone the profile, in one step; return where the old one is kept.

        That is an empty text where the profile is new.
        """
        with self._guard:
            held = self._held.get(place.session)
        if held is None or held.profile is None or place.is_master:
            raise Rejected(
                Code.BAD_FIELD,
                "only a session that works on a clone can be promoted",
                field="args.promote_to",
            )
        if not is_profile_name(profile):
            raise refusals.bad_name(profile)
        try:
            who = f"the promotion of session {place.session}"
            lock = locks.own(self._root, profile, who, self._stopping.wait)
            try:
                self._refuse_other(held, profile)
                clone = Path(place.user_data_dir)
                cookies.refuse_loss(held.profile, held.jar, cookies.read(clone))
                in_use.strip(clone)
                preferences.restore(clone, self._master(held.profile))
                kept = promotion.promote(self._root, clone, profile, self._clock.now(), self._reached)
                if kept:
                    pruning.prune(self._root, profile, self._settings.backups, kept)
                return kept
            finally:
                os.close(lock)
        except OSError as error:
            raise refusals.disk_failed(error, f"promoting a clone to profile {profile!r}") from error

    def keep(self, place: Workplace, profile: ProfileName) -> str | None:
        """Keep a clone among the backups that was to become this profile and may not; return where, None if it cannot."""
        clone = Path(place.user_data_dir)
        if place.is_master or not clone.is_dir():
            return None
        with self._guard:
            held = self._held.get(place.session)
        try:
            in_use.strip(clone)
            if held is not None and held.profile is not None:
                preferences.restore(clone, self._master(held.profile))
            with pruning.turn(self._root):
                kept = promotion.keep(self._root, clone, profile, self._clock.now())
                pruning.prune(self._root, profile, self._settings.backups, kept)
        except OSError as error:
            LOG.warning("the clone of session %s could not be kept: %s", place.session, error.strerror)
            return None
        return kept

    def loss(self, place: Workplace) -> str | None:
        """Return what to tell of a login after which no cookie of the keyring's is left; None where all is well."""
        with self._guard:
            held = self._held.get(place.session)
        with suppress(OSError):
            if held is not None and held.copy and held.jar.has_lost(cookies.read(Path(place.user_data_dir))):
                return refusals.lost_cookies(held.copy)
        return None

    def facts(self) -> list[ProfileFacts]:
        """Return what is known of each profile, by name."""
        return [facts.read(self._root, name) for name in self._names()]

    def _names(self) -> list[ProfileName]:
        try:
            paths = sorted(self._root.iterdir())
        except OSError:
            return []
        return [ProfileName(path.name) for path in paths if self._is_master(path)]

    def _master(self, profile: ProfileName) -> Path:
        return self._root / profile

    def _is_master(self, path: Path) -> bool:
        """Tell whether a profile stands at this path."""
        return (
            path.parent == self._root
            and is_profile_name(path.name)
            and not self._is_clones(path)
            and path.is_dir()
        )

    def _is_clones(self, path: Path) -> bool:
        return path.resolve() == self._folders.path.resolve()

    # -- refusals ----------------------------------------------------------------------------------------

    def _refuse_full_disk(self, folder: Path) -> None:
        found = os.statvfs(folder)
        free = found.f_bavail * found.f_frsize
        if free < self._settings.min_free_bytes:
            raise refusals.low_disk(str(folder), free, self._settings.min_free_bytes)

    def _refuse_in_use(self, profile: ProfileName, master: Path) -> bool:
        """Return whether a live clone is to be made."""
        holder = in_use.holder_of(master)
        if holder is None:
            return False
        if holder.machine is not None or not self._settings.allow_live:
            raise refusals.held(profile, holder, master, "close that browser, or set session.allow_live")
        return True

    def refuse_risk(self, profile: ProfileName) -> None:
        """Raise Rejected where a login's browser could not read this profile's cookies now, and so would delete them."""
        with suppress(OSError):
            self._refuse_risk(profile, cookies.read(self._master(profile)))

    def _refuse_risk(self, profile: ProfileName, jar: cookies.Jar) -> None:
        if jar.unread:
            raise refusals.unread(profile, jar.unread[0])
        self._refuse_lost_key(profile, jar)

    def _refuse_lost_key(self, profile: ProfileName, jar: cookies.Jar) -> None:
        cookies.refuse_lost_key(profile, jar, self._settings.password_store, self._settings.environ)

    def _refuse_other(self, held: _Held, profile: ProfileName) -> None:
        """Raise Rejected unless the clone may take this profile's place."""
        master = self._master(profile)
        if not os.path.lexists(master):
            return
        if master.is_symlink():
            raise refusals.changed(profile, "is a link to a folder elsewhere, which cannot be exchanged")
        if profile != held.profile:
            raise refusals.changed(profile, f"exists, and is not the one that was cloned ({held.profile!r})")
        if (holder := in_use.holder_of(master)) is not None:
            raise refusals.held(profile, holder, master, "close that browser")
        if held.is_live:
            raise refusals.changed(
                profile, "was cloned while a browser had it open, and so not with all that is in it"
            )
        if promotion.fingerprint(master) != held.taken_from:
            raise refusals.changed(profile, "has changed since it was cloned")

    @staticmethod
    def _is_disturbed(master: Path, taken_from: dict[str, promotion.Mark]) -> bool:
        return in_use.holder_of(master) is not None or promotion.fingerprint(master) != taken_from

    # -- bookkeeping -------------------------------------------------------------------------------------

    @contextmanager
    def _shared(self, profile: ProfileName) -> Iterator[None]:
        lock = locks.share(self._root, profile)
        try:
            yield
        finally:
            os.close(lock)

    def _note(self, order: SessionOrder) -> dict[str, object]:
        return {
            "kind": order.kind.value,
            "profile": order.profile,
            "created": iso(self._clock.now()),
            "pid": os.getpid(),
        }

    def _workplace(
        self, session: SessionId, folder: folders.Folder, held: _Held, warnings: tuple[str, ...]
    ) -> Workplace:
        with self._guard:
            self._held[session] = held
        return Workplace(
            session=session,
            folder=str(folder.path),
            user_data_dir=str(folder.user_data_dir),
            temp_dir=str(folder.temp_dir),
            locks=held.locks,
            is_master=folder.is_master,
            encryption=held.jar.encryption,
            warnings=warnings,
        )
