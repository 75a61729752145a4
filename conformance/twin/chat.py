"""The chat of a team, with pondsocket-asgi in Starlette. chat.go is its twin."""

from contextlib import asynccontextmanager

from pondsocket import ConnectionContext, EventContext, JoinContext, LeaveContext, OutgoingContext, PondError, PondSocket
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

PEOPLE = {
    "token-of-ann": ("Ann", "moderator"),
    "token-of-bob": ("Bob", "member"),
    "token-of-gus": ("Gus", "guest"),
}


# begin connect
async def connect(ctx: ConnectionContext) -> None:
    person = PEOPLE.get(ctx.query.get("token", ""))
    if person is None:
        ctx.decline(401, "unknown token")
        return
    name, role = person
    ctx.accept(name=name, role=role)
# end connect


# begin join
async def join(ctx: JoinContext) -> None:
    room = ctx.route.param("room")
    role = await ctx.get_assign("role")
    if room == "board" and role != "moderator":
        await ctx.decline(403, "moderators only")
        return
    if ctx.join_params.get("key") == "host":
        await ctx.set_assign("role", "moderator")
    await ctx.accept()
    name = await ctx.get_assign("name")
    await ctx.track({"id": ctx.transport.get_id(), "name": name, "status": "online"})
    await ctx.reply("welcome", {"room": room, "name": name})
# end join


# begin events
async def say(ctx: EventContext) -> None:
    text = ctx.get_payload().get("text")
    if not text:
        raise PondError("say something", 400)
    await ctx.broadcast("said", {"name": await ctx.get_assign("name"), "text": text})


async def typing(ctx: EventContext) -> None:
    await ctx.broadcast_from("typing", {"name": await ctx.get_assign("name")})


async def whisper(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    whispered = {"name": await ctx.get_assign("name"), "text": payload["text"]}
    await ctx.broadcast_to("whispered", whispered, *payload["to"])


async def count(ctx: EventContext) -> None:
    said = (await ctx.get_assign("said") or 0) + 1
    await ctx.set_assign("said", said)
    await ctx.reply("counted", {"said": said, "members": await ctx.channel.user_count()})


async def status(ctx: EventContext) -> None:
    name = await ctx.get_assign("name")
    await ctx.update_presence({"id": ctx.user.id, "name": name, "status": ctx.get_payload()["status"]})


async def hide(ctx: EventContext) -> None:
    await ctx.untrack()


async def report(ctx: EventContext) -> None:
    await ctx.broadcast("reported", {"by": await ctx.get_assign("name"), "text": ctx.get_payload()["text"]})
# end events


# begin moderators
async def moderators_only(ctx: EventContext, call_next) -> None:
    if await ctx.get_assign("role") != "moderator":
        await ctx.reply("refused", {"message": "moderators only"})
        return
    await call_next()


async def mute(ctx: EventContext) -> None:
    await ctx.channel.update_assign(ctx.get_payload()["id"], "role", "guest")
    await ctx.reply("muted", {})


async def kick(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.evict(payload["reason"], payload["id"])
# end moderators


# begin outgoing
async def filter_report(ctx: OutgoingContext) -> None:
    role = ctx.get_user().assigns.get("role")
    if role == "guest":
        ctx.block()
    elif role != "moderator":
        ctx.transform({"text": ctx.get_payload()["text"]})
# end outgoing


# begin leave
async def leave(ctx: LeaveContext) -> None:
    await ctx.broadcast("left", {"name": ctx.get_assign("name"), "reason": ctx.get_reason()})
# end leave


# begin application
pond = PondSocket()
team = pond.create_endpoint("/api/socket", connect).create_channel("/team/:room", join)
team.on_message("say", say)
team.on_message("typing", typing)
team.on_message("whisper", whisper)
team.on_message("count", count)
team.on_message("status", status)
team.on_message("hide", hide)
team.on_message("report", report)
team.on_message("mute", mute, moderators_only)
team.on_message("kick", kick, moderators_only)
team.on_outgoing("reported", filter_report)
team.on_leave(leave)


async def announce(request):
    channel = await team.get_channel("/team/" + request.path_params["room"])
    if channel is None:
        return Response("nobody is there", 404)
    await channel.broadcast("announced", {"text": (await request.body()).decode()})
    return Response(status_code=204)


@asynccontextmanager
async def lifespan(app):
    yield
    await pond.close()


app = Starlette(
    routes=[
        Route("/announce/{room}", announce, methods=["POST"]),
        Mount("/api", PondASGIApp(pond)),
    ],
    lifespan=lifespan,
)
# end application
