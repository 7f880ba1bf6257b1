-- What tracetune 0.1 (layout 1) wrote through LangGraph's SqliteStore.
-- Values are blobs there, as LangGraph writes them; never edit: an old store is what it is.
CREATE TABLE store_migrations (
                    v INTEGER PRIMARY KEY
                );
CREATE TABLE store (
    -- 'prefix' represents the doc's 'namespace'
    prefix text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, expires_at TIMESTAMP, ttl_minutes REAL,
    PRIMARY KEY (prefix, key)
);
CREATE INDEX store_prefix_idx ON store (prefix);
CREATE INDEX idx_store_expires_at ON store (expires_at)
WHERE expires_at IS NOT NULL;
INSERT INTO store_migrations (v) VALUES (0);
INSERT INTO store_migrations (v) VALUES (1);
INSERT INTO store_migrations (v) VALUES (2);
INSERT INTO store_migrations (v) VALUES (3);
INSERT INTO store_migrations (v) VALUES (4);
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.releases', '20261122-000927-153-f367bf',
CAST('{"version":1,"id":"20261122-000927-153-f367bf","agent":"desk","parent":null,"prompts":{"main":"You answer at the desk.\r\nBe naïve. 🙂\n"},"config":"{\"max_steps\": 40, \"f\": 1e+16, \"nested\": {\"z\": [1.0, null], \"a\": true}}","guidelines":[],"origin":"import","why":["as first seen"],"evidence":{},"metrics":{},"verdict":null,"model":null,"calls":0,"tokens":0,"created_at":"2026-11-22T00:09:27.153405+00:00","content_hash":"7cf49cf3125386b1"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-154-52e5a6',
CAST('{"version":1,"id":"20261122-000927-154-52e5a6","action":"imported","release":"20261122-000927-153-f367bf","previous":null,"by":"tracetune","why":"as first seen","at":"2026-11-22T00:09:27.153807+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-155-7aa9ad',
CAST('{"version":1,"id":"20261122-000927-155-7aa9ad","action":"promoted","release":"20261122-000927-153-f367bf","previous":null,"by":"tracetune","why":"as first seen","at":"2026-11-22T00:09:27.153854+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.releases', '20261122-000927-156-3fd5fe',
CAST('{"version":1,"id":"20261122-000927-156-3fd5fe","agent":"desk","parent":"20261122-000927-153-f367bf","prompts":{"main":"You answer at the desk.\r\nBe naïve. 🙂\n"},"config":"{\"max_steps\": 20}","guidelines":[{"id":"g1","prompt":"main","text":"Book once.","evidence":{"traces":["t1"]},"origin":"rules"}],"origin":"rules","why":["It looped."],"evidence":{"traces":["t1","t2"]},"metrics":{"n":50},"verdict":{"decision":"better"},"model":null,"calls":0,"tokens":0,"created_at":"2026-11-22T00:09:27.154881+00:00","content_hash":"da3362ef532b8667"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-157-79a5ab',
CAST('{"version":1,"id":"20261122-000927-157-79a5ab","action":"committed","release":"20261122-000927-156-3fd5fe","previous":"20261122-000927-153-f367bf","by":"ann","why":"It looped.","at":"2026-11-22T00:09:27.155132+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-158-e37f35',
CAST('{"version":1,"id":"20261122-000927-158-e37f35","action":"promoted","release":"20261122-000927-156-3fd5fe","previous":"20261122-000927-153-f367bf","by":"ann","why":"It looped.","at":"2026-11-22T00:09:27.155165+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.releases', '20261122-000927-159-71dab9',
CAST('{"version":1,"id":"20261122-000927-159-71dab9","agent":"desk","parent":"20261122-000927-156-3fd5fe","prompts":{"main":"Be brief."},"config":"{\"max_steps\": 20}","guidelines":[{"id":"g1","prompt":"main","text":"Book once.","evidence":{"traces":["t1"]},"origin":"rules"}],"origin":"llm","why":["shorter"],"evidence":{},"metrics":{},"verdict":null,"model":"m:x","calls":2,"tokens":30,"created_at":"2026-11-22T00:09:27.155551+00:00","content_hash":"96118366b2731ec3"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-160-10d2a2',
CAST('{"version":1,"id":"20261122-000927-160-10d2a2","action":"committed","release":"20261122-000927-159-71dab9","previous":"20261122-000927-156-3fd5fe","by":"tracetune","why":"shorter","at":"2026-11-22T00:09:27.155643+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-161-bd0b40',
CAST('{"version":1,"id":"20261122-000927-161-bd0b40","action":"rejected","release":"20261122-000927-159-71dab9","previous":"20261122-000927-156-3fd5fe","by":"bob","why":"Too short.","at":"2026-11-22T00:09:27.155974+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk.journal', '20261122-000927-162-644c68',
CAST('{"version":1,"id":"20261122-000927-162-644c68","action":"rolled back","release":"20261122-000927-153-f367bf","previous":"20261122-000927-156-3fd5fe","by":"ann","why":"It was worse.","at":"2026-11-22T00:09:27.156246+00:00"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
INSERT INTO store (prefix, key, value, created_at, updated_at) VALUES
('tracetune.shop.desk', 'head',
CAST('{"version":1,"release":"20261122-000927-153-f367bf","entry":"20261122-000927-162-644c68"}' AS BLOB),
'2026-11-22 00:09:27', '2026-11-22 00:09:27');
