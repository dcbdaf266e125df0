async def main():
    import asyncio
    import json

    def exact(text):
        number = float(text)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number

    ask = json.loads(@ASK@, parse_float=exact)
    gate = asyncio.Semaphore(ask["parallel"])
    held = {"bytes": 0}
    made = {}

    def look(document, path):
        for alternative in path.split("||"):
            value = document
            for step in alternative.strip().split("."):
                last = step.endswith("[-1]")
                step = step[:-4] if last else step
                value = value.get(step) if isinstance(value, dict) else None
                if last:
                    value = value[-1] if isinstance(value, list) and value else None
            if value:
                return value
        return None

    def together(have, more):
        if not isinstance(have, dict):
            return have + more
        for name, value in more.items():
            if name not in have:
                have[name] = value
            elif isinstance(value, (dict, list)):
                have[name] = together(have[name], value)
        return have

    def merge(whole, page, path):
        steps = path.split(".")
        for step in steps[:-1]:
            if not whole.get(step):
                whole[step] = {}
            whole = whole[step]
            page = page.get(step) or {}
        name = steps[-1]
        more = page.get(name)
        if more is None:
            return
        have = whole.get(name)
        whole[name] = more if have is None else together(have, more)

    def forget(whole, path):
        for alternative in path.split("||"):
            steps = alternative.strip().split(".")
            inner = whole
            for step in steps[:-1]:
                inner = inner.get(step) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                inner.pop(steps[-1], None)

    async def read(region):
        pages = ask["pages"]
        params = dict(ask["params"])
        whole = None
        calls = 0
        try:
            async with gate:
                while True:
                    calls = made[region] = calls + 1
                    page = await call_boto3(
                        service_name=ask["service"],
                        operation_name=ask["operation"],
                        region_name=region,
                        params=params,
                    )
                    if not isinstance(page, dict):
                        page = {"value": page}
                    held["bytes"] = held["bytes"] + len(json.dumps(page, default=str))
                    tokens = []
                    more = False
                    if pages:
                        tokens = [look(page, path) for path in pages["output"]]
                        more = bool(pages["more"] and look(page, pages["more"]))
                        if pages["more"] and not more:
                            tokens = []
                    if whole is None:
                        whole = page
                    else:
                        for path in pages["results"]:
                            merge(whole, page, path)
                        for path in pages["output"] + [pages["more"]]:
                            forget(whole, path)
                    if not [token for token in tokens if token]:
                        return {"document": whole, "calls": calls, "more": more}
                    following = dict(params)
                    for name, token in zip(pages["input"], tokens):
                        if token:
                            following[name] = token
                        else:
                            following.pop(name, None)
                    if following == params:
                        return {"document": whole, "calls": calls, "more": True}
                    params = following
                    if calls >= ask["max_pages"] or held["bytes"] >= ask["max_bytes"]:
                        return {"document": whole, "calls": calls, "more": True}
        except Exception as error:
            return {"error": repr(error)[:2000], "calls": calls}

    async def bounded(region):
        try:
            return await asyncio.wait_for(read(region), ask["seconds"])
        except asyncio.TimeoutError:
            return {"error": "timed out: AWS gave no answer within the time for this query", "calls": made.get(region, 0)}
        except Exception as error:
            return {"error": repr(error)[:2000], "calls": 0}

    async def run():
        asked = ask["regions"]
        enabled = None
        if ask["enabled"]:
            found = await call_boto3(
                service_name="ec2",
                operation_name="DescribeRegions",
                region_name=ask["home"],
                params={},
            )
            enabled = sorted([region["RegionName"] for region in found["Regions"] if region.get("OptInStatus") != "not-opted-in"])
            asked = [region for region in asked if region in enabled]
        answers = await asyncio.gather(*[bounded(region) for region in asked])
        return {"regions": dict(zip(asked, answers)), "enabled": enabled}

    return await run()


result = await main()
result
